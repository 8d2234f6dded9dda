//! Services and futures that stay on one thread.

use std::{cell::Cell, future::Future, pin::Pin, rc::Rc, time::Duration};

use static_assertions::assert_not_impl_any;
use tokio::task::{LocalSet, spawn_local};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Job, JobLayer, LogLayer, ProgressLayer,
    RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Recorder, secs};

type Request = Rc<u32>;
type Response = Rc<u32>;
type Local = Pin<Box<dyn Future<Output = Result<Response, BoxError>>>>;

assert_not_impl_any!(Local: Send, Sync);

/// Answers on its second call, and after a second.
fn local() -> impl Service<Request, Response = Response, Error = BoxError, Future = Local> + Clone {
    let calls = Rc::new(Cell::new(0));
    service_fn(move |request: Request| -> Local {
        let calls = Rc::clone(&calls);
        Box::pin(async move {
            tokio::time::sleep(secs(1)).await;
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                Err("the first call fails".into())
            } else {
                Ok(Rc::new(*request + 1))
            }
        })
    })
}

/// Calls it twice, in tasks of the thread's own.
async fn call_twice<S>(service: S, works_at_once: bool)
where
    S: Service<Request, Response = Response> + Clone + 'static,
    S::Error: std::fmt::Display,
{
    let call = |service: S| async move {
        let response = service.oneshot(Rc::new(1)).await;
        response
            .map(|number| *number)
            .map_err(|error| error.to_string())
    };
    let first = spawn_local(call(service.clone())).await.unwrap();
    assert_eq!(first.is_ok(), works_at_once, "{first:?}");
    assert_eq!(spawn_local(call(service)).await.unwrap(), Ok(2));
}

macro_rules! works_on_one_thread {
    ($($(#[$doc:meta])* $name:ident($works:expr): $layer:expr;)+) => {$(
        $(#[$doc])*
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let service = $layer.layer(local());
            LocalSet::new().run_until(call_twice(service, $works)).await;
            assert_eq!(Job::current().id(), None);
        }
    )+};
}

fn key(request: &Request) -> Option<u32> {
    Some(**request)
}

works_on_one_thread! {
    /// JobLayer needs nothing that can be sent.
    job(false): JobLayer::new("named");
    /// Log needs nothing that can be sent.
    log(false): LogLayer::new();
    /// Progress needs nothing that can be sent.
    progress(false): ProgressLayer::new();
    /// Cancel needs nothing that can be sent.
    cancel(false): CancelLayer::new();
    /// Timeout needs nothing that can be sent.
    timeout(false): TimeoutLayer::new(Duration::from_secs(60));
    /// Timeout that watches the work needs nothing that can be sent.
    watched(false): TimeoutLayer::new(Duration::from_secs(60)).idle().grace(secs(1));
    /// Retry needs nothing that can be sent.
    retry(true): RetryLayer::new();
    /// CircuitBreaker needs nothing that can be sent.
    circuit_breaker(false): CircuitBreakerLayer::new();
    /// Dedup, where duplicates are rejected, needs nothing that can be sent.
    dedup(false): DedupLayer::new(key);
    /// Dedup, where the latest replaces, needs nothing that can be sent.
    latest(false): DedupLayer::new(key).latest();
    /// Dedup, where callers wait for quiet, needs nothing that can be sent.
    debounce(false): DedupLayer::new(key).debounce(secs(1)).max_wait(secs(2));
}

/// All seven together need nothing that can be sent.
#[tokio::test(start_paused = true)]
async fn all_seven() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(ProgressLayer::new())
        .layer(CancelLayer::new())
        .layer(DedupLayer::new(key))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
        .service(local());
    LocalSet::new().run_until(call_twice(service, true)).await;
    recorder.assert_one_terminal_each();
    assert_eq!(recorder.count("succeeded"), 2);
    assert_eq!(recorder.count("retrying"), 1);
}
