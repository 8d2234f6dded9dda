//! The table of what the cases cost.

use std::{fmt, time::Duration};

use allocation_counter::AllocationInfo;

/// A service, and what can be done to it without knowing its type.
pub trait Subject {
    /// The time that this many calls take.
    fn time(&mut self, count: u64) -> Duration;
    /// The allocations of this many calls.
    fn count(&mut self, count: u64) -> AllocationInfo;
}

/// What a case is compared with, in tower and in tower-resilience.
pub type Peers = [Option<&'static str>; 2];

/// A layer to be measured.
pub struct Case {
    /// Its row.
    pub name: &'static str,
    /// With which it is compared.
    pub peers: Peers,
    /// Around an inner service that is ready at once.
    pub ready: Box<dyn Subject>,
    /// Around one that is pending once.
    pub pends: Box<dyn Subject>,
    /// The size of its future.
    pub bytes: usize,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The medians, in nanoseconds for a call, of rounds in which the cases take turns: what slows the machine down for a
/// while slows them all.
fn medians(
    cases: &mut [Case],
    rounds: usize,
    count: u64,
    subject: impl Fn(&mut Case) -> &mut Box<dyn Subject>,
) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(rounds); cases.len()];
    for _ in 0..rounds {
        for (times, case) in times.iter_mut().zip(cases.iter_mut()) {
            let elapsed = subject(case).time(count);
            times.push(elapsed.as_secs_f64() * 1e9 / count as f64);
        }
    }
    times.into_iter().map(median).collect()
}

struct Figures {
    ns: f64,
    of_bare: f64,
    of_peers: [Option<f64>; 2],
    allocations: f64,
    bytes: f64,
}

fn figures(
    cases: &mut [Case],
    rounds: usize,
    count: u64,
    subject: impl Fn(&mut Case) -> &mut Box<dyn Subject>,
) -> Vec<Figures> {
    let medians = medians(cases, rounds, count, &subject);
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    let of = |name| {
        let index = names.iter().position(|known| *known == name);
        medians[index.expect("a peer is a case")]
    };
    let counted = 256;
    cases
        .iter_mut()
        .zip(&medians)
        .map(|(case, ns)| {
            let allocated = subject(case).count(counted);
            let per_call = |total: u64| total as f64 / counted as f64;
            Figures {
                ns: *ns,
                of_bare: ns / of("bare"),
                of_peers: case.peers.map(|peer| Some(ns / of(peer?))),
                allocations: per_call(allocated.count_total),
                bytes: per_call(allocated.bytes_total),
            }
        })
        .collect()
}

/// Measures the cases, one of which is called "bare", and prints a table of ratios, allocations and sizes; `quick`, with
/// fewer calls.
pub fn print_table(cases: &mut [Case], quick: bool) {
    let (rounds, count) = if quick { (5, 500) } else { (25, 5_000) };
    let ready = figures(cases, rounds, count, |case| &mut case.ready);
    let pends = figures(cases, rounds, count, |case| &mut case.pends);
    println!("\nMedians of a call, in ns and as multiples of bare and of the counterparts.\n");
    for (title, figures) in [("Ready at once", ready), ("Pending once", pends)] {
        println!(
            "| {title:36} | {:>7} | {:>7} | {:>7} | {:>12} | {:>6} | {:>5} | {:>6} |",
            "ns", "/ bare", "/ tower", "/ resilience", "allocs", "bytes", "future"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|");
        for (case, figures) in cases.iter().zip(figures) {
            let ratio =
                |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [tower, resilience] = figures.of_peers.map(ratio);
            println!(
                "| {:36} | {:7.1} | {:7.1} | {tower:>7} | {resilience:>12} | {:6.2} | {:5.0} | {:6} |",
                case.name,
                figures.ns,
                figures.of_bare,
                figures.allocations,
                figures.bytes,
                case.bytes,
            );
        }
        println!();
    }
}
