//! Exchanges over pipes in memory, on the paused clock.

use super::{
    Done,
    check::Rule,
    client::Client,
    plan::{Settings, Transport, Wrong},
    record::World,
    totals::Totals,
    wire::Connector,
};

/// The exchanges of each test below.
const EXCHANGES: u64 = 25_000;

/// Runs the world of this seed.
fn run(seed: u64, wrong: Option<Wrong>) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let authorities = ["one.test", "two.test:8080"].map(str::to_owned);
        let world = World::new(Settings::of(seed, Transport::Memory, wrong), authorities);
        let client = Client::hyper(&world, Connector(world.clone()));
        super::run(world, client).await
    })
}

/// Runs the worlds from this seed on, until they had [`EXCHANGES`], and fails with the first that
/// breaks a rule.
#[track_caller]
fn run_from(first: u64) {
    let mut totals = Totals::default();
    let mut seed = first;
    while totals.attempts < EXCHANGES {
        let done = run(seed, None);
        done.assert_no_violation();
        totals.add(&done);
        seed += 1;
    }
    println!("seeds {first} to {seed}: {totals:#?}");
    totals.assert_all_kinds();
}

/// R80 R81 R82 A POST arrives at most once, no request arrives earlier than asked, and the other
/// rules of [`Rule`].
#[test]
fn a_post_arrives_once_and_no_request_early_1() {
    run_from(0);
}

/// R80 R81 R82 As the first, with other seeds.
#[test]
fn a_post_arrives_once_and_no_request_early_2() {
    run_from(1_000_000);
}

/// R80 R81 R82 As the first, with other seeds.
#[test]
fn a_post_arrives_once_and_no_request_early_3() {
    run_from(2_000_000);
}

/// R80 R81 R82 As the first, with other seeds.
#[test]
fn a_post_arrives_once_and_no_request_early_4() {
    run_from(3_000_000);
}

/// The rules that are broken in the first worlds with a wrong policy.
fn broken_by(wrong: Wrong) -> Vec<Rule> {
    let violations = (0..20).flat_map(|seed| run(seed, Some(wrong)).violations);
    violations.map(|violation| violation.rule).collect()
}

/// R80 The check notices a policy that repeats a POST.
#[test]
fn the_check_notices_a_repeated_post() {
    let rules = broken_by(Wrong::EveryMethod);
    assert!(rules.contains(&Rule::Once), "{rules:?}");
}

/// R81 The check notices a policy that comes back too early.
#[test]
fn the_check_notices_an_early_request() {
    let rules = broken_by(Wrong::IgnoresHints);
    assert!(rules.contains(&Rule::NotEarly), "{rules:?}");
    assert!(!rules.contains(&Rule::Once), "{rules:?}");
}

/// A seed always means the same world.
#[test]
fn a_seed_is_repeatable() {
    for seed in 0..10 {
        let [first, again] = [(); 2].map(|()| {
            let done = run(seed, None);
            let record = done.world.record();
            let (arrivals, attempts) = (&record.arrivals, &record.attempts);
            format!("{arrivals:#?} {attempts:#?} {:#?}", record.results)
        });
        assert_eq!(without_keys(&first), without_keys(&again), "seed {seed}");
    }
}

/// Without the random keys.
fn without_keys(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("\\\""));
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs the world of `EXCHANGES_SEED`, or of 0, and prints it.
#[test]
fn one_seed() {
    let seed = std::env::var("EXCHANGES_SEED").map_or(0, |seed| seed.parse().unwrap());
    let done = run(seed, None);
    println!("{:#?}", done.world.settings);
    println!("{:#?}", done.world.record());
    done.assert_no_violation();
}
