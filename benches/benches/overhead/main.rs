//! What each layer adds to a call, next to its peers in tower, tower-resilience and other crates.
//!
//! `cargo bench -p tower-keep-benches --bench overhead` runs criterion's groups, then prints a
//! table of costs and one of ratios; `-- --quick` and `-- --test` do so in little time. Absolute
//! times say more about the machine than about a layer: read the ratios. Without `-p` cargo would
//! build tokio with the clock that the tests pause, which costs more.
//!
//! Services are built once; an iteration is `poll_ready`, `call` and the polls of its future. The
//! counting allocator is paused while times are taken, which leaves it a look at a thread-local for
//! each allocation.

mod held;
mod report;

use std::{env, time::Duration};

use criterion::Criterion;
use tower_keep_benches::quick;

fn main() {
    let mut cases = tower_keep_benches::all();
    cases.retain(|case| case.is_timed);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(2_000)
        .configure_from_args();
    for (group, pends) in [("ready at once", false), ("pending once", true)] {
        let mut group = criterion.benchmark_group(group);
        for case in &mut cases {
            let name = case.name;
            if let Some(subject) = case.subject(pends) {
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|count| report::time(subject, count));
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();

    if !env::args().any(|argument| argument == "--list") {
        report::print_tables(&mut cases, quick());
    }
}
