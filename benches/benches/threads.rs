//! What a second thread adds to the throughput of one service, both calling clones of it without a
//! pause.
//!
//! `cargo bench -p tower-keep-benches --bench threads`; `-- --quick` and `-- --test` measure
//! little. Two cores are needed, to which the threads are bound: the first row, without any layer,
//! shows what the machine itself has to give.
//!
//! Each thread has a current-thread runtime of its own, so that they meet in the layers only.
//! Rounds with one thread and with two take turns, as do the cases. A thread that loses its core
//! for a moment makes a round a bad one: the figures are those of the best tenth of the rounds.

use std::{
    future::poll_fn,
    hint,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use tokio::time::Instant;
use tower::{Service, layer::util::Identity};
use tower_keep::{CircuitBreakerLayer, DedupLayer, RetryLayer, TimeoutLayer};
use tower_keep_benches::{
    Inner, Stack, best_tenth, calls,
    cases::{keep, peers},
    quick,
};

/// No more rounds after this time.
const MOST: Duration = Duration::from_secs(40);

/// Makes this many calls in each of this many threads; the time from the first one's beginning to
/// the last one's end.
type Run = Box<dyn FnMut(u64, u64) -> Duration>;

struct Case {
    name: &'static str,
    /// The throughput of two threads, of one thread's.
    goal: Option<f64>,
    /// With an inner service that is ready at once, and with another that is pending once.
    runs: [Run; 2],
}

fn case(name: &'static str, goal: Option<f64>, layer: impl Stack) -> Case {
    let run = |inner| {
        let service = layer.layer(inner);
        let mut next = 0;
        let run: Run = Box::new(move |threads, count| {
            let first = next;
            next += threads * count;
            together(&service, first, threads, count)
        });
        run
    };
    Case {
        name,
        goal,
        runs: [run(Inner::ready()), run(Inner::pending_once())],
    }
}

fn together<S>(service: &S, first: u64, threads: u64, count: u64) -> Duration
where
    S: Service<u64> + Clone + Send + 'static,
{
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let arrived = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..threads)
        .map(|index| {
            let mut service = service.clone();
            let arrived = Arc::clone(&arrived);
            let first = first + index * count;
            let core = cores.get(index as usize).copied();
            thread::spawn(move || {
                core.map(core_affinity::set_for_current);
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime without I/O");
                let all = poll_fn(|cx| {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    // A thread that sleeps here would begin late.
                    while arrived.load(Ordering::Relaxed) < threads {
                        hint::spin_loop();
                    }
                    let start = Instant::now();
                    calls(&mut service, first..first + count, true, cx);
                    Poll::Ready((start, Instant::now()))
                });
                runtime.block_on(tokio::task::unconstrained(all))
            })
        })
        .collect();
    let times: Vec<_> = workers
        .into_iter()
        .map(|worker| worker.join().expect("its calls succeed"))
        .collect();
    let start = times.iter().map(|(start, _)| *start).min();
    let end = times.iter().map(|(_, end)| *end).max();
    end.zip(start)
        .map_or(Duration::ZERO, |(end, start)| end - start)
}

fn cases() -> Vec<Case> {
    let minute = Duration::from_secs(60);
    let key = |request: &u64| Some(*request);
    vec![
        case("bare", None, Identity::new()),
        case("seven, no key", Some(1.5), keep::seven_without_key()),
        case("seven, join", Some(1.5), keep::seven_that_join()),
        case("breaker", Some(1.5), CircuitBreakerLayer::new()),
        case("retry", Some(1.5), RetryLayer::new()),
        case("timeout", None, TimeoutLayer::new(minute)),
        case("dedup, reject", None, DedupLayer::new(key)),
        case("dedup, join", None, DedupLayer::new(key).join()),
        case("log + progress + cancel", None, keep::log_progress_cancel()),
        case("resilience all four", None, peers::resilience_four()),
        case(
            "resilience breaker",
            None,
            peers::resilience_breaker_layer(),
        ),
        case("failsafe", None, peers::failsafe()),
        case("recloser", None, peers::recloser()),
    ]
}

/// The calls of a block; by round, nanoseconds a call with one thread, and with two.
#[derive(Default)]
struct Figures {
    count: u64,
    one: Vec<f64>,
    two: Vec<f64>,
}

impl Figures {
    /// Those of the best tenth of the rounds, and the throughput of two threads as a multiple of
    /// one thread's.
    fn best(&self) -> (f64, f64, f64) {
        let [one, two] = [&self.one, &self.two].map(|times| best_tenth(times.clone()));
        (one, two, 2.0 * one / two)
    }
}

fn main() {
    let mut cases = cases();
    let (rounds, block) = if quick() {
        (3, Duration::from_micros(200))
    } else {
        (101, Duration::from_millis(1))
    };
    let mut all: Vec<[Figures; 2]> = cases.iter().map(|_| Default::default()).collect();
    let begin = Instant::now();
    // The first round finds out how many calls a block is.
    for round in 0..=rounds {
        // Locks whose holders lose their core can make a round a long one.
        if round > 3 && begin.elapsed() > MOST {
            break;
        }
        for (case, figures) in cases.iter_mut().zip(&mut all) {
            for (run, figures) in case.runs.iter_mut().zip(figures) {
                if round == 0 {
                    let time = run(1, 2_000).as_secs_f64() / 2_000.0;
                    figures.count = ((block.as_secs_f64() / time) as u64).max(100);
                    continue;
                }
                let count = figures.count;
                let mut time = |threads| run(threads, count).as_secs_f64() * 1e9 / count as f64;
                let (one, two) = (time(1), time(2));
                figures.one.push(one);
                figures.two.push(two);
            }
        }
    }

    let (.., gained) = all[0][0].best();
    if gained < 1.8 {
        println!(
            "\nThere was no second core: without any layer it gained {gained:.2}. The rest says little."
        );
    }
    println!(
        "\nA call in one thread and in each of two, in ns, and the throughput of two threads as a multiple of one \
         thread's; with an inner service that is ready at once and with another that is pending once.\n"
    );
    println!(
        "| {:24} | {:>7} | {:>7} | {:>5} | {:>7} | {:>7} | {:>5} | {:7} | {:6} |",
        "", "ready 1", "ready 2", "gain", "pends 1", "pends 2", "gain", "goal", ""
    );
    println!("|---|--:|--:|--:|--:|--:|--:|---|---|");
    for (case, figures) in cases.iter().zip(&all) {
        print!("| {:24}", case.name);
        let mut met = true;
        for (one, two, gain) in figures.iter().map(Figures::best) {
            met &= case.goal.is_none_or(|goal| gain >= goal);
            print!(" | {:7.1} | {:7.1} | {gain:5.2}", one, two);
        }
        match case.goal {
            Some(goal) => println!(
                " | >= {goal:.2} | {:6} |",
                if met { "met" } else { "missed" }
            ),
            None => println!(" | {:7} | {:6} |", "", ""),
        }
    }
    println!();
}
