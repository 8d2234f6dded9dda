//! What a call costs in the steady state: heap allocations, and clones of the inner service. A
//! program of its own, because its global allocator counts.
//!
//! Futures are polled by hand with a waker that does nothing, so that only the layers are counted,
//! not an executor.

mod bodies;
mod frames;
mod measure;
mod uploads;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, Event, Job, JobLayer,
    LogLayer, Pipeline, ProgressLayer, Ratio, RetryLayer, TimeoutLayer,
    circuit_breaker::Window,
    pipeline::Identity,
    retry::{Decision, Jitter, RetryBudget},
};

use self::measure::{Broken, CALLS, Cost, Inner, WARM_UP, at_most, calls, cost_of};

/// What all tracking layers of a stack share.
const JOB: usize = 1;

const MINUTE: Duration = Duration::from_secs(60);

/// The measure itself: were it blind, every other test here would pass.
#[test]
fn the_measure_sees_allocations_and_clones() {
    #[derive(Clone)]
    struct Boxing<S>(S);

    impl<S> Service<u64> for Boxing<S>
    where
        S: Service<u64> + Clone,
        S::Future: 'static,
    {
        type Response = S::Response;
        type Error = S::Error;
        type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>>>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: u64) -> Self::Future {
            Box::pin(self.0.clone().call(request))
        }
    }

    for pends in [false, true] {
        let cost = cost_of(tower::layer::layer_fn(Boxing), Inner::new(pends));
        let expected = Cost {
            allocations: CALLS,
            clones: CALLS,
            failed: 0,
        };
        assert_eq!(cost, expected);
    }
}

#[test]
fn timeout_costs_nothing() {
    at_most(&TimeoutLayer::new(MINUTE), 0, 0);
    at_most(&TimeoutLayer::new(MINUTE).per_attempt(), 0, 0);
}

/// The job, and what cancels the work at its limit.
#[test]
fn a_watched_timeout_allocates_the_job() {
    at_most(&TimeoutLayer::new(MINUTE).idle(), JOB, 0);
    at_most(&TimeoutLayer::new(MINUTE).per_attempt().idle(), JOB, 0);
    at_most(&TimeoutLayer::new(MINUTE).grace(MINUTE), JOB + 1, 0);
    let layers = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(TimeoutLayer::new(MINUTE).idle());
    at_most(&layers, JOB, 0);
}

/// R66 Only a clone of the service that was called, if there may be another attempt.
#[test]
fn retry_costs_nothing() {
    at_most(&RetryLayer::new(), 0, 1);
    at_most(&RetryLayer::new().max_retries(0), 0, 0);
    let once = RetryLayer::new().clone_with(|_: &u64| None);
    at_most(&once, 0, 0);
}

/// A retry with all its settings costs nothing either: what a retry needs is made when there is
/// one.
#[test]
fn retry_costs_nothing_with_a_budget_jitter_and_a_total_time() {
    let budget = RetryBudget::default();
    let layer = RetryLayer::new()
        .budget(budget.clone())
        .jitter(Jitter::Decorrelated)
        .seed(1)
        .max_total_time(MINUTE)
        .decide_with(|result: &Result<u64, Broken>, _| {
            if result.is_err() {
                Decision::Retry
            } else {
                Decision::Stop
            }
        });
    at_most(&layer, 0, 1);
    assert!(budget.balance().first_attempts() > 0, "it was paid into");
}

#[test]
fn circuit_breaker_costs_nothing() {
    at_most(&CircuitBreakerLayer::new(), 0, 0);
}

/// With a count window, a time window, slow calls known in flight, and a circuit for each key, once
/// the key is known.
#[test]
fn circuit_breaker_costs_nothing_in_any_mode() {
    let windowed = || CircuitBreakerLayer::new().failure_rate(Ratio::HALF);
    let timed = Window::time(MINUTE).unwrap();
    at_most(&windowed(), 0, 0);
    at_most(&windowed().window(timed), 0, 0);
    at_most(&windowed().slow_call_rate(Ratio::HALF), 0, 0);
    let tracking = windowed().slow_call_rate(Ratio::HALF).window(timed);
    at_most(&tracking.count_in_flight(), 0, 0);
    at_most(&windowed().backpressure(), 0, 0);
    at_most(&windowed().per_key(|request: &u64| request % 7), 0, 0);
}

#[test]
fn circuit_breaker_costs_nothing_after_a_failure() {
    for pends in [false, true] {
        let inner = Inner {
            fails: |request| request % 2 == 0,
            ..Inner::new(pends)
        };
        let cost = cost_of(CircuitBreakerLayer::new(), inner);
        let expected = Cost {
            allocations: 0,
            clones: 0,
            failed: CALLS / 2,
        };
        assert_eq!(cost, expected);
    }
}

#[test]
fn timeout_retry_and_circuit_breaker_cost_nothing_together() {
    let layers = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(MINUTE))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(MINUTE).per_attempt());
    at_most(&layers, 0, 1);
}

/// R78 A job that gets an id from outside takes one more allocation, apart from the text. A job
/// without an id pays nothing.
#[test]
fn an_external_id_is_one_allocation() {
    at_most(&JobLayer::new("job"), JOB, 0);
    let none = JobLayer::new("job").identified_by(|_: &u64| None::<&str>);
    at_most(&none, JOB, 0);
    let id: Arc<str> = "order-7".into();
    let identified = JobLayer::new("job").identified_by(move |_: &u64| Some(Arc::clone(&id)));
    at_most(&identified, JOB + 1, 0);
    let board = ProgressLayer::new();
    let _looks = board.handle();
    let layers = ServiceBuilder::new().layer(identified).layer(board);
    at_most(&layers, JOB + 1, 0);
}

/// Nobody listens to tracing here.
#[test]
fn log_allocates_the_job() {
    at_most(&LogLayer::new(), JOB, 0);
}

/// R76 Without a listener no event is built: the closure that chooses levels sees none.
#[test]
fn a_log_without_a_listener_builds_no_events() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let log = LogLayer::new().level_with(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(tower_keep::log::Level::ERROR)
    });
    at_most(&log, JOB, 0);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    at_most(&log.level_with(|_| None), JOB, 0);
}

#[test]
fn a_log_with_a_listener_allocates_the_job() {
    at_most(&LogLayer::to(|_: &Event| {}), JOB, 0);
}

/// Reads the body to its end.
fn read<B: Body>(body: B) -> u64 {
    let mut body = pin!(body);
    let mut frames = 0;
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut cx) {
        frames += 1;
    }
    assert_eq!(frames, 1);
    frames
}

/// Logs exchanges with a server, to the end of their bodies, around a service that knows only
/// numbers.
macro_rules! exchanges {
    ($log:expr) => {
        ServiceBuilder::new()
            .map_request(|number: u64| {
                let mut request = http::Request::new(number);
                *request.uri_mut() = http::Uri::from_static("https://example.com/");
                request
            })
            .map_response(|response: http::Response<_>| read(response.into_body()))
            .layer($log)
            .map_request(http::Request::into_body)
            .map_response(|_| http::Response::new(Full::new(Bytes::from_static(b"page"))))
    };
}

/// R48 R84 Without a listener, the log of an HTTP client reads nothing, so it costs what a plain log
/// costs. A followed body costs no allocation.
#[test]
fn an_http_log_without_a_listener_allocates_the_job() {
    at_most(&exchanges!(LogLayer::http()), JOB, 0);
}

/// R48 R84 Limits that include the body make no timer for a body of one frame, and begin no job.
#[test]
fn limits_of_a_body_allocate_nothing() {
    at_most(&exchanges!(TimeoutLayer::http(MINUTE)), 0, 0);
    let idle = TimeoutLayer::http_attempt(MINUTE).idle(MINUTE);
    at_most(&exchanges!(idle), 0, 0);
}

/// R84 With a listener it stores the exchange, with the name of the server.
#[test]
fn an_http_log_with_a_listener_allocates_the_exchange() {
    let log = LogLayer::http_to(|_: &Event| {});
    at_most(&exchanges!(log), JOB + 2, 0);
}

#[test]
fn progress_allocates_the_job() {
    at_most(&ProgressLayer::new(), JOB, 0);
}

#[test]
fn cancel_allocates_the_job() {
    at_most(&CancelLayer::new(), JOB, 0);
}

#[test]
fn log_progress_and_cancel_share_the_job() {
    let layers = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(ProgressLayer::new())
        .layer(CancelLayer::new());
    at_most(&layers, JOB, 0);
}

/// A job with steps has one allocation for what few jobs need. The steps that follow each other
/// allocate nothing but their names, which are shared here, however closely watched.
#[test]
fn steps_cost_one_allocation_for_all() {
    let names: [Arc<str>; 2] = ["first".into(), "second".into()];
    let steps = tower::layer::layer_fn(move |_: Inner| {
        let names = names.clone();
        tower::service_fn(move |request: u64| {
            let names = names.clone();
            async move {
                let job = Job::current().steps(2);
                for name in names {
                    job.step(name, async { Ok::<_, BoxError>(()) }).await?;
                }
                Ok::<_, BoxError>(request)
            }
        })
    });
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let watch = move |event: &Event| {
        counted.fetch_add(usize::from(event.step.is_some()), Ordering::Relaxed);
    };
    let layers = ServiceBuilder::new()
        .layer(LogLayer::to(watch))
        .layer(ProgressLayer::new())
        .layer(steps);
    at_most(&layers, JOB + 1, 0);
    assert_eq!(seen.load(Ordering::Relaxed), 2 * (WARM_UP + CALLS) * 6);
}

/// A clone of the service is dedup's one exception.
#[test]
fn dedup_costs_a_clone_of_the_service() {
    at_most(&DedupLayer::new(|request: &u64| Some(*request)), 0, 1);
}

/// The key itself, which goes into the table.
#[test]
fn dedup_allocates_only_for_the_key() {
    let key = |request: &u64| Some(request.to_string());
    at_most(&DedupLayer::new(key), 1, 1);
}

/// The execution. What its callers share is used again.
#[test]
fn a_call_that_may_be_joined_allocates_once() {
    let layer = || DedupLayer::new(|request: &u64| Some(*request)).join();
    at_most(&layer(), 1, 1);
    at_most(&Pipeline::new().dedup(layer()).build().unwrap(), JOB + 1, 2);
}

/// What a newer call looks at of an older one, if there is a key.
#[test]
fn dedup_that_replaces_allocates_once() {
    at_most(&DedupLayer::new(|_: &u64| None::<u64>).latest(), 0, 1);
    let key = |request: &u64| Some(*request);
    at_most(&DedupLayer::new(key).latest(), 1, 1);
    at_most(&DedupLayer::new(key).debounce(Duration::ZERO), 1, 1);
}

/// The job, the task, what the handle watches and where it gets the result.
#[test]
fn a_dispatched_job_costs_four_allocations() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let inner = Inner::new(false);
    let clones = Arc::clone(&inner.clones);
    let jobs = Dispatcher::new(inner).limit(std::num::NonZeroUsize::MAX);
    let dispatch = |requests: std::ops::Range<usize>| {
        runtime.block_on(async {
            for request in requests {
                assert!(jobs.dispatch(request as u64).await.is_ok());
            }
        });
    };
    dispatch(0..WARM_UP);
    clones.store(0, Ordering::Relaxed);
    let idle = allocation_counter::measure(|| dispatch(0..0)).count_total;
    let counted = allocation_counter::measure(|| dispatch(WARM_UP..WARM_UP + CALLS)).count_total;
    assert!(
        counted - idle <= 4 * CALLS as u64,
        "{} allocations for {CALLS} jobs",
        counted - idle
    );
    assert_eq!(clones.load(Ordering::Relaxed), CALLS);
}

/// The clone is the retry's.
#[test]
fn all_but_dedup() {
    let pipeline = Pipeline::new();
    at_most(&pipeline.clone().build().unwrap(), JOB, 1);
    let no_retry = pipeline.retry(Identity::new());
    at_most(&no_retry.build().unwrap(), JOB, 0);
}

#[test]
fn a_pipeline_with_empty_slots_costs_nothing() {
    at_most(&empty_pipeline(), 0, 0);
}

/// A slot that is set to nothing takes its job with it.
fn empty_pipeline() -> impl Layer<Inner, Service = Inner> {
    Pipeline::new()
        .log(Identity::new())
        .progress(Identity::new())
        .cancel(Identity::new())
        .circuit_breaker(Identity::new())
        .timeout(Identity::new())
        .retry(Identity::new())
        .attempt_timeout(Identity::new())
        .build()
        .unwrap()
}

#[test]
fn all_seven_with_dedup() {
    let dedup = DedupLayer::new(|request: &u64| Some(*request));
    at_most(&Pipeline::new().dedup(dedup).build().unwrap(), JOB, 2);
}

/// A job that goes on for long forgets the children that ended.
#[test]
fn children_that_ended_are_forgotten() {
    let client = ServiceBuilder::new()
        .layer(CancelLayer::new())
        .service(Inner::new(false));
    let parent = ServiceBuilder::new()
        .layer(CancelLayer::new())
        .service(tower::service_fn(move |_: u64| {
            let mut client = client.clone();
            async move {
                let mut live = Vec::with_capacity(4);
                for round in 0..4 {
                    let info = allocation_counter::measure(|| {
                        calls(&mut client, 0..1_000 << (2 * round));
                    });
                    live.push(info.bytes_current);
                }
                Ok::<_, BoxError>(live)
            }
        }));
    let mut call = pin!(tower::ServiceExt::oneshot(parent, 0));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(live) = call.as_mut().poll(&mut cx) else {
        panic!("it waits for nothing");
    };
    let live = live.unwrap();
    assert!(live.iter().all(|bytes| *bytes < 10_000), "{live:?}");
}
