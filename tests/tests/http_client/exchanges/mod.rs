//! Random exchanges between the client stack and an origin: hyper at both ends.
//!
//! A world is a client with its calls, and an origin, both from one seed. A failure names the seed:
//! `EXCHANGES_SEED=7 cargo test -p tower-keep-tests --test http_client exchanges::one_seed` runs
//! its world alone, and prints it.

mod check;
mod client;
mod origin;
mod plan;
mod record;
mod wire;

use std::{fmt::Write, ops::Range, sync::Arc, time::Duration};

use check::{Violation, check};
use client::Client;
use plan::{Settings, Wrong};
use record::{Outcome, World};
use wire::Connector;

/// A world after its last call.
struct Done {
    world: Arc<World>,
    violations: Vec<Violation>,
    opened: u64,
}

/// Runs the world of this seed.
fn run(seed: u64, wrong: Option<Wrong>) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(Settings::of(seed, wrong));
        let client = Arc::new(Client::new(&world, Connector(world.clone())));
        let calls = world.calls.iter().cloned().map(|call| {
            let (world, client) = (world.clone(), client.clone());
            tokio::spawn(async move { client.call(world, call).await })
        });
        let all = futures::future::try_join_all(calls.collect::<Vec<_>>());
        let ended = tokio::time::timeout(Duration::from_secs(3600), all).await;
        let ended = ended.unwrap_or_else(|_| panic!("a call of seed {seed} never ends"));
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let violations = check(&world, &client);
        let circuits = client.circuits.circuits().into_iter();
        Done {
            violations,
            opened: circuits.map(|(_, circuit)| circuit.snapshot().opened).sum(),
            world,
        }
    })
}

/// What many worlds had in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    calls: u64,
    attempts: u64,
    arrivals: u64,
    retries: u64,
    responses: u64,
    errors: u64,
    dropped: u64,
    opened: u64,
}

impl Totals {
    fn add(&mut self, done: &Done) {
        let record = done.world.record();
        self.calls += done.world.settings.calls;
        self.attempts += record.attempts.values().map(Vec::len).sum::<usize>() as u64;
        self.arrivals += record.arrivals.len() as u64;
        self.retries += record.planned.len() as u64;
        self.opened += done.opened;
        for result in record.results.values() {
            match result {
                Outcome::Response { .. } => self.responses += 1,
                Outcome::Error { .. } => self.errors += 1,
                Outcome::Dropped => self.dropped += 1,
            }
        }
    }
}

/// Runs the worlds of these seeds, and fails with the first that breaks a rule.
fn run_all(seeds: Range<u64>) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        let done = run(seed, None);
        totals.add(&done);
        let mut text = String::new();
        for violation in &done.violations {
            writeln!(text, "{violation}").unwrap();
        }
        assert!(
            text.is_empty(),
            "seed {seed}, {:#?}:\n{text}",
            done.world.settings
        );
    }
    totals
}

/// R80 R81 The worlds of the first seeds.
#[test]
fn first_worlds() {
    let totals = run_all(0..100);
    println!("{totals:#?}");
}

/// Runs the world of `EXCHANGES_SEED`, and prints it.
#[test]
fn one_seed() {
    let seed = std::env::var("EXCHANGES_SEED").map_or(0, |seed| seed.parse().unwrap());
    let done = run(seed, None);
    println!("{:#?}", done.world.settings);
    println!("{:#?}", done.world.record());
    for violation in &done.violations {
        println!("{violation}");
    }
    assert_eq!(done.violations, []);
}
