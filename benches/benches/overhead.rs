//! What each layer adds to a call, beside its counterparts in tower and in tower-resilience.
//!
//! `cargo bench --bench overhead` runs criterion's groups, then prints a table of ratios, allocations and sizes;
//! `-- --quick` and `-- --test` do so in little time. Absolute times say more about the machine than about a layer:
//! read the ratios.
//!
//! The inner service is ready at once, or pending once. Services are built once; an iteration is `poll_ready`, `call`
//! and the polls of its future. All calls of a sample are made within one poll of one task of a current-thread runtime,
//! so that no case is measured with more of an executor than another. The counting allocator is paused while times
//! are taken, which leaves it a look at a thread-local for each allocation.

use std::{
    env, fmt,
    future::Future,
    hint::black_box,
    ops::Range,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use allocation_counter::AllocationInfo;
use criterion::Criterion;
use tokio::{runtime::Runtime, time::Instant};
use tower::{Layer, Service, ServiceBuilder, retry::Policy};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, DedupLayer, Event, LogLayer, Pipeline, ProgressLayer,
    RetryLayer, TimeoutLayer,
};
use tower_keep_benches::{Case, Peers, Subject, print_table};
use tower_resilience::{circuitbreaker, coalesce, retry, timelimiter};

const MINUTE: Duration = Duration::from_secs(60);

// ===== the inner service =====

#[derive(Clone, Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

#[derive(Clone)]
struct Inner {
    pends: bool,
}

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Broken;
    type Future = Answer;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        Answer {
            pends: black_box(self.pends),
            request,
        }
    }
}

struct Answer {
    pends: bool,
    request: u64,
}

impl Future for Answer {
    type Output = Result<u64, Broken>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.pends) {
            // Whoever polls does so again, unasked.
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.request))
    }
}

// ===== driving a service =====

/// Kept out of line, so that each case is compiled alike.
#[inline(never)]
fn calls<S: Service<u64>>(service: &mut S, requests: Range<u64>, cx: &mut Context<'_>) {
    for request in requests {
        assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))));
        let mut future = pin!(service.call(black_box(request)));
        // In memory, as that of a task, or call and poll would become one for the simplest cases only.
        black_box(&mut future);
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(cx) {
                assert!(black_box(result).is_ok());
                break;
            }
        }
    }
}

struct Driven<S> {
    service: S,
    runtime: Rc<Runtime>,
    /// No two requests are alike.
    next: u64,
}

impl<S: Service<u64>> Driven<S> {
    /// Makes the calls, with `around` around them.
    fn run<T>(&mut self, count: u64, around: impl Fn(&mut dyn FnMut()) -> T) -> T {
        let requests = self.next..self.next + count;
        self.next = requests.end;
        let service = &mut self.service;
        let all = std::future::poll_fn(|cx| {
            Poll::Ready(around(&mut || calls(service, requests.clone(), cx)))
        });
        // A task that never yields would soon find tokio's own futures pending.
        self.runtime.block_on(tokio::task::unconstrained(all))
    }
}

impl<S: Service<u64>> Subject for Driven<S> {
    fn time(&mut self, count: u64) -> Duration {
        self.run(count, |calls| {
            let mut elapsed = Duration::ZERO;
            allocation_counter::opt_out(|| {
                let start = Instant::now();
                calls();
                elapsed = start.elapsed();
            });
            elapsed
        })
    }

    fn count(&mut self, count: u64) -> AllocationInfo {
        self.run(count, |calls| allocation_counter::measure(calls))
    }
}

// ===== what is measured =====

/// A case that others are compared with, or that has no counterpart.
const ALONE: Peers = [None, None];

struct Cases {
    runtime: Rc<Runtime>,
    all: Vec<Case>,
}

impl Cases {
    fn add<L>(&mut self, name: &'static str, peers: Peers, layer: L)
    where
        L: Layer<Inner>,
        L::Service: Service<u64> + 'static,
    {
        let _entered = self.runtime.enter();
        let subject = |pends| {
            Box::new(Driven {
                service: layer.layer(Inner { pends }),
                runtime: Rc::clone(&self.runtime),
                next: 0,
            })
        };
        self.all.push(Case {
            name,
            peers,
            ready: subject(false),
            pends: subject(true),
            bytes: size_of::<<L::Service as Service<u64>>::Future>(),
        });
    }
}

/// Each of tower's retries takes a policy; this one does nothing.
#[derive(Clone)]
struct Never;

impl Policy<u64, u64, Broken> for Never {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, _: &mut Result<u64, Broken>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn resilience_circuit_breaker() -> circuitbreaker::CircuitBreakerLayer {
    circuitbreaker::CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(Duration::from_secs(30))
        .build()
        .expect("the settings are sound")
}

fn resilience_retry<E>() -> retry::RetryLayer<u64, u64, E> {
    retry::RetryLayer::builder()
        .max_attempts(4)
        .exponential_backoff(Duration::from_secs(1))
        .build()
}

fn resilience_time_limiter() -> timelimiter::TimeLimiterLayer {
    timelimiter::TimeLimiterLayer::builder()
        .timeout_duration(MINUTE)
        .cancel_running_future(true)
        .build()
}

fn cases() -> Vec<Case> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O");
    let mut cases = Cases {
        runtime: Rc::new(runtime),
        all: Vec::new(),
    };
    let key = |request: &u64| Some(*request);
    let coalesce = || coalesce::CoalesceLayer::new(|request: &u64| *request);

    cases.add("bare", ALONE, tower::layer::util::Identity::new());

    cases.add(
        "tower timeout",
        ALONE,
        tower::timeout::TimeoutLayer::new(MINUTE),
    );
    cases.add("tower retry", ALONE, tower::retry::RetryLayer::new(Never));
    cases.add(
        "tower timeout + retry",
        ALONE,
        ServiceBuilder::new()
            .timeout(MINUTE)
            .layer(tower::retry::RetryLayer::new(Never)),
    );
    cases.add("resilience time limiter", ALONE, resilience_time_limiter());
    cases.add("resilience retry", ALONE, resilience_retry());
    cases.add(
        "resilience circuit breaker",
        ALONE,
        resilience_circuit_breaker(),
    );
    cases.add("resilience coalesce", ALONE, coalesce());
    cases.add(
        "resilience breaker + limiter + retry",
        ALONE,
        ServiceBuilder::new()
            .layer(resilience_circuit_breaker())
            .layer(resilience_time_limiter())
            .layer(resilience_retry()),
    );
    cases.add(
        "resilience all four",
        ALONE,
        ServiceBuilder::new()
            .layer(coalesce())
            // Its errors have to be `Clone`, which those of the others are not.
            .map_err(|_| Broken)
            .layer(resilience_circuit_breaker())
            .layer(resilience_time_limiter())
            .layer(resilience_retry()),
    );

    cases.add(
        "timeout",
        [Some("tower timeout"), Some("resilience time limiter")],
        TimeoutLayer::new(MINUTE),
    );
    cases.add(
        "retry",
        [Some("tower retry"), Some("resilience retry")],
        RetryLayer::new(),
    );
    cases.add(
        "circuit breaker",
        [None, Some("resilience circuit breaker")],
        CircuitBreakerLayer::new(),
    );
    cases.add(
        "dedup, reject",
        [None, Some("resilience coalesce")],
        DedupLayer::new(key),
    );
    cases.add(
        "dedup, join",
        [None, Some("resilience coalesce")],
        DedupLayer::new(key).join(),
    );
    cases.add("cancel", ALONE, CancelLayer::new());
    cases.add("progress", ALONE, ProgressLayer::new());
    cases.add("log, nobody listens", ALONE, LogLayer::new());
    cases.add(
        "log to a closure",
        ALONE,
        LogLayer::to(|event: &Event| {
            black_box(event);
        }),
    );
    cases.add(
        "log + progress + cancel",
        ALONE,
        ServiceBuilder::new()
            .layer(LogLayer::new())
            .layer(ProgressLayer::new())
            .layer(CancelLayer::new()),
    );
    cases.add(
        "timeout + retry",
        [Some("tower timeout + retry"), None],
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(MINUTE))
            .layer(RetryLayer::new()),
    );
    cases.add(
        "breaker + timeout + retry",
        [None, Some("resilience breaker + limiter + retry")],
        ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new())
            .layer(TimeoutLayer::new(MINUTE))
            .layer(RetryLayer::new()),
    );
    cases.add(
        "all but dedup",
        [None, Some("resilience all four")],
        Pipeline::new().build().expect("the defaults fit together"),
    );
    cases.add(
        "all seven, dedup reject",
        [None, Some("resilience all four")],
        Pipeline::new()
            .dedup(DedupLayer::new(key))
            .build()
            .expect("the defaults fit together"),
    );
    cases.add(
        "all seven, dedup join",
        [None, Some("resilience all four")],
        Pipeline::new()
            .dedup(DedupLayer::new(key).join())
            .build()
            .expect("the defaults fit together"),
    );
    cases.all
}

fn main() {
    let mut cases = cases();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(2_000)
        .configure_from_args();
    for (group, ready) in [("ready at once", true), ("pending once", false)] {
        let mut group = criterion.benchmark_group(group);
        for case in &mut cases {
            let subject = if ready {
                &mut case.ready
            } else {
                &mut case.pends
            };
            group.bench_function(case.name, |bencher| {
                bencher.iter_custom(|count| subject.time(count));
            });
        }
        group.finish();
    }
    criterion.final_summary();

    // As criterion tells it: cargo passes `--bench` when this is more than a test.
    let given = |flag: &str| env::args().any(|argument| argument == flag);
    if !given("--list") {
        print_table(
            &mut cases,
            given("--test") || given("--quick") || !given("--bench"),
        );
    }
}
