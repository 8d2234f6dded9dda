//! The tables of what the cases cost.

use std::time::Duration;

use allocation_counter::AllocationInfo;
use tokio::time::Instant;
use tower_keep_benches::{ADDED, COMPARISONS, Case, Comparison, Subject, best_tenth};

use crate::held;

/// The time that this many calls take.
pub(crate) fn time(subject: &mut dyn Subject, count: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    subject.run(count, &mut |calls| {
        allocation_counter::opt_out(|| {
            let start = Instant::now();
            calls();
            elapsed = start.elapsed();
        });
    });
    elapsed
}

/// The allocations of this many calls, once tables have their size.
fn allocations(subject: &mut dyn Subject, count: u64) -> AllocationInfo {
    subject.run(500, &mut |calls| calls());
    let mut counted = AllocationInfo::default();
    subject.run(count, &mut |calls| {
        counted = allocation_counter::measure(&mut *calls);
    });
    counted
}

/// Of one case.
#[derive(Default)]
struct Figures {
    /// For a call, in nanoseconds, by round.
    times: Vec<f64>,
    allocations: f64,
    bytes: f64,
}

impl Figures {
    fn time(&self) -> f64 {
        best_tenth(self.times.clone())
    }
}

/// Measures the cases by turns: what slows the machine down for a while slows them all. In each
/// round they come in another order.
fn figures(cases: &mut [Case], pends: bool, rounds: usize, count: u64) -> Vec<Option<Figures>> {
    let counted = 256;
    let mut all: Vec<_> = cases
        .iter_mut()
        .map(|case| {
            let allocated = allocations(case.subject(pends)?, counted);
            let per_call = |total: u64| total as f64 / counted as f64;
            Some(Figures {
                times: Vec::with_capacity(rounds),
                allocations: per_call(allocated.count_total),
                bytes: per_call(allocated.bytes_total),
            })
        })
        .collect();
    for round in 0..rounds {
        for index in 0..cases.len() {
            let index = (index + round) % cases.len();
            let subject = cases[index].subject(pends);
            if let (Some(subject), Some(figures)) = (subject, &mut all[index]) {
                let elapsed = time(subject, count);
                figures
                    .times
                    .push(elapsed.as_secs_f64() * 1e9 / count as f64);
            }
        }
    }
    all
}

fn ratio(ours: &Figures, peer: &Figures) -> f64 {
    ours.time() / peer.time()
}

/// Measures the cases, the first of which is the inner service alone, and prints what a call costs,
/// and the ratios where two are compared; `quick`, with fewer calls.
pub(crate) fn print_tables(cases: &mut [Case], quick: bool) {
    let (rounds, count) = if quick { (5, 200) } else { (101, 1_000) };
    let ready = figures(cases, false, rounds, count);
    let pends = figures(cases, true, rounds, count);
    print_costs(cases, &ready, &pends);
    print_comparisons(cases, &ready, &pends);
    print_added(cases, &ready, &pends);
    print_held(cases, if quick { 1_000 } else { 10_000 });
}

fn print_costs(cases: &[Case], ready: &[Option<Figures>], pends: &[Option<Figures>]) {
    println!(
        "\nA call in the best tenth of the rounds, in ns and as multiples of bare, allocations and their bytes, with an \
         inner service that is ready at once and with another that is pending once; and the size of the future.\n"
    );
    print!("| {:36}", "");
    for state in ["ready", "pends"] {
        print!(
            " | {state:>7} | {:>6} | {:>6} | {:>5}",
            "/ bare", "allocs", "bytes"
        );
    }
    println!(" | {:>6} |", "future");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (index, case) in cases.iter().enumerate() {
        print!("| {:36}", case.name);
        for all in [ready, pends] {
            match (&all[index], &all[0]) {
                (Some(figures), Some(bare)) => print!(
                    " | {:7.1} | {:6.1} | {:6.2} | {:5.0}",
                    figures.time(),
                    ratio(figures, bare),
                    figures.allocations,
                    figures.bytes,
                ),
                _ => print!(" | {:7} | {:6} | {:6} | {:5}", "", "", "", ""),
            }
        }
        println!(" | {:6} |", case.bytes);
    }
}

fn print_comparisons(cases: &[Case], ready: &[Option<Figures>], pends: &[Option<Figures>]) {
    println!("\nOurs as multiples of a peer, and the goals; around HTTP, of what each adds.\n");
    println!(
        "| {:32} | {:36} | {:>5} | {:>7} | {:>5} | {:>7} | {:>6} | {:>7} | {:6} |",
        "ours", "peer", "ready", "goal", "pends", "goal", "allocs", "goal", ""
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|---|");
    let find = |name: &str| cases.iter().position(|case| case.name == name);
    for compared in COMPARISONS {
        let Comparison {
            ours, peer, goal, ..
        } = compared;
        let (Some(left), Some(right)) = (find(ours), find(peer)) else {
            continue;
        };
        let bare = compared.over.and_then(find);
        let mut missed = false;
        let mut goals = 0;
        let mut against = |value: Option<f64>, most: Option<f64>| {
            let most = value.and(most);
            goals += usize::from(most.is_some());
            missed |= value.zip(most).is_some_and(|(value, most)| value > most);
            let shown = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.2}"));
            (
                shown(value),
                most.map_or_else(String::new, |most| format!("<= {most:.2}")),
            )
        };
        let ratio = |all: &[Option<Figures>]| {
            let time = |index: usize| Some(all[index].as_ref()?.time());
            let bare = bare.and_then(time).unwrap_or_default();
            Some((time(left)? - bare) / (time(right)? - bare))
        };
        let (ready_ratio, ready_goal) = against(ratio(ready), goal.ready);
        let (pends_ratio, pends_goal) = against(ratio(pends), goal.pends);
        let allocations = [ready, pends].map(|all| all[left].as_ref().map(|it| it.allocations));
        let allocations = allocations.into_iter().flatten().reduce(f64::max);
        let (allocations, allocations_goal) = against(allocations, goal.allocations.map(f64::from));
        let verdict = match (goals, missed) {
            (0, _) => "",
            (_, false) => "met",
            (_, true) => "missed",
        };
        println!(
            "| {ours:32} | {peer:36} | {ready_ratio:>5} | {ready_goal:>7} | {pends_ratio:>5} | {pends_goal:>7} | \
             {allocations:>6} | {allocations_goal:>7} | {verdict:6} |"
        );
    }
    println!();
}

fn print_added(cases: &[Case], ready: &[Option<Figures>], pends: &[Option<Figures>]) {
    println!("What a layer adds to a frame of a body, in ns, and the goals.\n");
    println!("| {:32} | ready |  goal | pends | {:6} |", "", "");
    println!("|---|--:|--:|--:|---|");
    for added in ADDED {
        let more = |all: &[Option<Figures>]| {
            let time = |name: &str| {
                let index = cases.iter().position(|case| case.name == name)?;
                Some(all[index].as_ref()?.time())
            };
            Some(time(added.name)? - time(added.to)?)
        };
        let (Some(ready), Some(pends)) = (more(ready), more(pends)) else {
            continue;
        };
        let goal = (added.most).map_or_else(String::new, |most| format!("<= {most}"));
        let verdict = match added.most {
            None => "",
            Some(most) if ready > most => "missed",
            Some(_) => "met",
        };
        println!(
            "| {:32} | {ready:5.1} | {goal:>5} | {pends:5.1} | {verdict:6} |",
            added.name
        );
    }
    println!();
}

fn print_held(cases: &[Case], jobs: usize) {
    let pipeline = cases.iter().filter(|case| case.name.starts_with("seven"));
    let pipeline = pipeline.map(|case| case.bytes).max();
    let (job, future) = held::by_running_job(jobs);
    println!(
        "Bytes held, and the goals.\n\n| {:68} | bytes |   goal |        |",
        ""
    );
    println!("|---|--:|--:|---|");
    for (what, bytes, most) in [
        (
            "the future of the seven".to_owned(),
            pipeline.unwrap_or_default(),
            640,
        ),
        (
            format!("a running job of {jobs}, with log, progress and cancel"),
            job + future,
            600,
        ),
    ] {
        let verdict = if bytes > most { "missed" } else { "met" };
        println!("| {what:68} | {bytes:5} | <= {most:3} | {verdict:6} |");
    }
    println!(
        "| {:68} | {future:5} | {:6} | {:6} |",
        "of which its future, boxed", "", ""
    );
    println!();
}
