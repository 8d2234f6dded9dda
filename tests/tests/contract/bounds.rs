//! What is `Clone`, `Send` and `Sync`, and asks for nothing of the request, the response and the
//! error.

use std::{cell::Cell, future::ready, time::Duration};

use futures::Stream;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep::{
    cancel::CancelHandle, circuit_breaker::CircuitBreakerHandle, progress::ProgressHandle, *,
};
use tower_keep_test::{Scripted, Strict};

/// Requests, responses and errors that can be sent and nothing else.
#[derive(Debug, thiserror::Error)]
#[error("plain")]
struct Plain(Cell<u8>);

assert_not_impl_any!(Plain: Clone, Sync);
assert_impl_all!(Plain: Send);

impl Plain {
    fn new() -> Self {
        Self(Cell::new(0))
    }
}

/// A response and an error that can be shared.
#[derive(Clone, Debug, thiserror::Error)]
#[error("shared")]
struct Shared;

fn is_layer<L: Clone + Send + Sync + 'static>(layer: &L) -> L {
    layer.clone()
}

fn is_service<S: Clone + Send + Sync + 'static>(service: S) -> S {
    service
}

fn is_send<F: Send + 'static>(future: F) -> F {
    future
}

/// A service of plain types.
fn plain()
-> impl Service<Plain, Response = Plain, Error = Plain, Future: Send + 'static> + Clone + Send + Sync
{
    service_fn(|request: Plain| {
        ready(if request.0.get() == 0 {
            Ok(request)
        } else {
            Err(request)
        })
    })
}

/// Puts the layer around it, and sends the service and its future elsewhere.
macro_rules! goes_around {
    ($layer:expr, $inner:expr, $request:expr) => {{
        let layer = is_layer(&$layer);
        let mut service = is_service(layer.layer($inner));
        let service = service.ready().await.map_err(drop).unwrap();
        let response = is_send(service.call($request));
        tokio::spawn(async move { drop(response.await) })
            .await
            .unwrap();
    }};
}

fn key(_: &Plain) -> Option<u8> {
    Some(1)
}

fn failed(_: &Result<Plain, Plain>) -> Outcome {
    Outcome::Success
}

/// A limit, and what cannot be sent is not asked for: types that are neither `Clone` nor `Sync` go
/// through each layer that keeps the inner error type, on another task.
#[tokio::test(start_paused = true)]
async fn plain_types_go_through_what_keeps_the_error() {
    goes_around!(JobLayer::new("named"), plain(), Plain::new());
    goes_around!(
        JobLayer::named_by(|_: &Plain| "named"),
        plain(),
        Plain::new()
    );
    goes_around!(LogLayer::new(), plain(), Plain::new());
    goes_around!(LogLayer::new().classify(failed), plain(), Plain::new());
    goes_around!(ProgressLayer::new(), plain(), Plain::new());
    let retry = RetryLayer::new().clone_with(|request: &Plain| Some(Plain(request.0.clone())));
    goes_around!(retry, plain(), Plain::new());
    let retry = retry.should_retry(|_: &Plain| true).max_retries(1);
    goes_around!(retry, plain(), Plain::new());
    goes_around!(
        RetryLayer::new()
            .clone_with(|_: &Plain| None)
            .classify(failed),
        plain(),
        Plain::new()
    );
}

/// Types that are neither `Clone` nor `Sync` go through the layers that can stop a call, in the
/// modes with the user's own error and with a response.
#[tokio::test(start_paused = true)]
async fn plain_types_go_through_what_can_stop_a_call() {
    macro_rules! in_each_mode {
        ($layer:expr) => {
            goes_around!($layer.fail_with(|_| Plain::new()), plain(), Plain::new());
            goes_around!($layer.respond_with(|_| Plain::new()), plain(), Plain::new());
        };
    }
    in_each_mode!(TimeoutLayer::new(Duration::from_secs(1)));
    in_each_mode!(TimeoutLayer::new(Duration::from_secs(1)).per_attempt());
    in_each_mode!(TimeoutLayer::none());
    in_each_mode!(TimeoutLayer::new(Duration::from_secs(1)).idle());
    in_each_mode!(TimeoutLayer::new(Duration::from_secs(1)).grace(Duration::from_secs(1)));
    in_each_mode!(
        TimeoutLayer::none()
            .limit_by(|_: &Plain| Some(Duration::from_secs(1)))
            .idle()
    );
    in_each_mode!(TimeoutLayer::none().limit_by(|_: &Plain| Some(Duration::from_secs(1))));
    in_each_mode!(CircuitBreakerLayer::new());
    in_each_mode!(CircuitBreakerLayer::new().classify(failed));
    in_each_mode!(CancelLayer::new());
    in_each_mode!(CancelLayer::new().replace(key));
    in_each_mode!(CancelLayer::new().detached());
    in_each_mode!(DedupLayer::new(key));
    in_each_mode!(DedupLayer::new(key).latest());
    in_each_mode!(DedupLayer::new(key).debounce(Duration::from_secs(1)));
}

/// By default, errors only have to become a `BoxError`.
#[tokio::test(start_paused = true)]
async fn any_error_that_can_be_boxed_goes_through_the_default_mode() {
    let inner = || service_fn(|request: Plain| ready(Ok::<_, BoxError>(request)));
    goes_around!(
        TimeoutLayer::new(Duration::from_secs(1)),
        inner(),
        Plain::new()
    );
    goes_around!(CircuitBreakerLayer::new(), inner(), Plain::new());
    goes_around!(CancelLayer::new(), inner(), Plain::new());
    goes_around!(CancelLayer::new().detached(), inner(), Plain::new());
    goes_around!(DedupLayer::new(key), inner(), Plain::new());

    let never = || service_fn(|request: Plain| ready(Ok::<_, std::convert::Infallible>(request)));
    goes_around!(
        TimeoutLayer::new(Duration::from_secs(1)),
        never(),
        Plain::new()
    );
    goes_around!(CircuitBreakerLayer::new(), never(), Plain::new());
    goes_around!(CancelLayer::new(), never(), Plain::new());
    goes_around!(DedupLayer::new(key), never(), Plain::new());
    goes_around!(DedupLayer::new(key).latest(), never(), Plain::new());
    goes_around!(
        DedupLayer::new(key).debounce(Duration::ZERO),
        never(),
        Plain::new()
    );
}

/// Callers that join need no more than a response that can be shared; the request need not be
/// `Clone` or `Sync`, nor the error by default.
#[tokio::test(start_paused = true)]
async fn joining_asks_only_for_what_is_shared() {
    let join = DedupLayer::new(key).join();
    let boxed = || service_fn(|_: Plain| ready(Ok::<_, BoxError>(Shared)));
    goes_around!(join, boxed(), Plain::new());
    let own = || service_fn(|_: Plain| ready(Ok::<_, Shared>(Shared)));
    goes_around!(join.clone().fail_with(|_| Shared), own(), Plain::new());
    goes_around!(join.clone().respond_with(|_| Shared), own(), Plain::new());
}

/// A service is `Clone` where its inner one is; all but Retry and Dedup, which clone it, also work
/// around a service that is not.
#[tokio::test(start_paused = true)]
async fn no_clone_is_asked_for_where_none_is_made() {
    struct NotClone;
    impl Service<Plain> for NotClone {
        type Response = Plain;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Plain, BoxError>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Plain) -> Self::Future {
            ready(Ok(request))
        }
    }
    macro_rules! works {
        ($($layer:expr),+ $(,)?) => {$(
            let mut service = $layer.layer(NotClone);
            service.ready().await.unwrap().call(Plain::new()).await.unwrap();
        )+};
    }
    works!(
        JobLayer::new("named"),
        LogLayer::new(),
        ProgressLayer::new(),
        CancelLayer::new(),
        CancelLayer::new().detached(),
        CircuitBreakerLayer::new(),
        TimeoutLayer::new(Duration::from_secs(1)),
        TimeoutLayer::new(Duration::from_secs(1))
            .idle()
            .grace(Duration::from_secs(1)),
        Pipeline::new()
            .retry(pipeline::Identity::new())
            .build()
            .unwrap(),
    );
}

/// The handles go anywhere.
#[test]
fn handles_can_be_sent_and_shared() {
    assert_impl_all!(CancelHandle: Clone, Send, Sync);
    assert_impl_all!(CircuitBreakerHandle: Clone, Send, Sync);
    assert_impl_all!(ProgressHandle: Clone, Send, Sync);
    assert_impl_all!(progress::Changes: Stream, Unpin, Send, Sync);
    assert_impl_all!(progress::Watch: Stream, Unpin, Clone, Send, Sync);
    assert_impl_all!(progress::BoardSnapshot: Clone, Send, Sync);
    assert_impl_all!(Job: Clone, Send, Sync);
    assert_impl_all!(Pipeline: Clone, Send, Sync);
    type Inner = Strict<Scripted<u32, u32>>;
    assert_impl_all!(log::Log<Inner>: Clone, Send, Sync);
    assert_impl_all!(progress::Progress<Inner>: Clone, Send, Sync);
    assert_impl_all!(cancel::Cancel<Inner>: Clone, Send, Sync);
    assert_impl_all!(circuit_breaker::CircuitBreaker<Inner>: Clone, Send, Sync);
    assert_impl_all!(timeout::Timeout<Inner>: Clone, Send, Sync);
    assert_impl_all!(retry::Retry<Inner>: Clone, Send, Sync);
    assert_impl_all!(job::JobService<Inner>: Clone, Send, Sync);
}

/// What a layer makes by default is a value of a type that can be written down, as in a struct's
/// field.
#[test]
fn one_import_brings_the_names() {
    let _: (LogLayer, ProgressLayer, CancelLayer) = Default::default();
    let _: (CircuitBreakerLayer, RetryLayer) = Default::default();
    let _: TimeoutLayer = TimeoutLayer::new(Duration::ZERO);
    let _: pipeline::PipelineLayer = Pipeline::new().build().unwrap();
    let _: fn(&BoxError) -> bool = |error| find::<cancel::Cancelled>(&**error).is_some();
    let _: (Option<JobId>, Option<EventKind>, Option<CancelReason>) = (None, None, None);
    let _: (Option<FailureCause>, Option<LimitScope>, Option<Report>) = (None, None, None);
    let _: (Option<Event>, Option<JobName>, Option<ErrorsAsFailures>) = (None, None, None);
    fn observes(_: impl Observer) {}
    observes(|_: &Event| {});
    fn classifies(_: impl Classify<(), ()>) {}
    classifies(ErrorsAsFailures);
}
