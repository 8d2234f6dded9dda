//! What the layers promise that only change the request: all else is the inner service's.

use std::{fmt::Debug, time::Duration};

use http::{Method, Request};
use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    Dispatcher, IdempotencyKeyLayer, Pipeline, ReplayLayer, SendDeadlineLayer, TimeoutLayer,
    http::replay::ReplayBody, pipeline,
};
use tower_keep_test::{Polled, Readiness, Scripted, Step, Strict, secs};
use tower_keep_tests::{begin, panics, quiet};

type Body = http_body_util::Full<bytes::Bytes>;

fn post() -> Request<Body> {
    Request::post("https://example.com/")
        .body(Body::default())
        .unwrap()
}

/// Checks the layer around a service that takes `Inner`.
async fn check<L, Inner>(layer: L)
where
    L: Clone + Debug + Send + Sync + 'static,
    L: Layer<Strict<Scripted<Inner, u32>>>,
    L::Service:
        Service<Request<Body>, Response = u32, Error = &'static str, Future: Send + 'static>,
    L::Service: Clone + Debug + Send + Sync + 'static,
    Inner: Send + 'static,
{
    let around = |inner: Scripted<Inner, u32>| layer.layer(inner.strict());

    // Readiness is the inner service's, and the instance that is ready is called.
    let inner = Scripted::new().never_ready();
    let calls = inner.calls();
    let mut service = around(inner);
    let mut ready = Polled::new(service.ready());
    ready.assert_waiting();
    drop(ready);
    assert_eq!((calls.count(), calls.clones()), (0, 0));
    let mut service = around(Scripted::new().readiness(Readiness::error("not ready")));
    let error = service.ready().await.map(drop).unwrap_err();
    assert_eq!(error, "not ready");

    // The result passes through, and no clone is made.
    let inner = Scripted::new()
        .answer(7)
        .error("broken")
        .answer_after(secs(1), 9);
    let calls = inner.calls();
    let mut service = around(inner);
    assert_eq!(begin(&mut service, post()).await.await.unwrap(), 7);
    let error = begin(&mut service, post()).await.await.unwrap_err();
    assert_eq!(error, "broken");
    assert_eq!(begin(&mut service, post()).await.await.unwrap(), 9);
    assert_eq!((calls.completed(), calls.clones()), (3, 0));

    // The future is the inner service's.
    let mut service = around(Scripted::new().answer(1));
    let future = begin(&mut service, post()).await;
    let name = std::any::type_name_of_val(&future);
    let inner = std::any::type_name::<<Strict<Scripted<Inner, u32>> as Service<Inner>>::Future>();
    assert_eq!(name, inner);

    // A drop and a panic leave nothing behind.
    let inner = Scripted::new()
        .never()
        .step(Step::panic("in the future"))
        .step(Step::panic_in_call("in the call"))
        .answer(4);
    let calls = inner.calls();
    let mut service = around(inner);
    let mut call = Polled::new(begin(&mut service, post()).await);
    call.assert_waiting();
    drop(call);
    assert!(panics(begin(&mut service, post()).await).await);
    assert!(panics(async { begin(&mut service, post()).await.await }).await);
    assert_eq!(calls.in_flight(), 0);
    assert_eq!(service.clone().oneshot(post()).await.unwrap(), 4);

    for shown in [format!("{layer:?}"), format!("{service:?}")] {
        assert!(
            shown.contains("Layer") || shown.contains("inner"),
            "{shown}"
        );
    }
}

/// R83 R89 The layers change the request, and all else is the inner service's.
#[tokio::test(start_paused = true)]
async fn all_else_is_the_inner_services() {
    check::<_, Request<Body>>(IdempotencyKeyLayer::new()).await;
    check::<_, Request<Body>>(IdempotencyKeyLayer::new().key_with(|_: &Request<Body>| None)).await;
    check::<_, Request<Body>>(SendDeadlineLayer::new()).await;
    check::<_, Request<ReplayBody<Body>>>(ReplayLayer::new()).await;
}

/// R83 R89 Each service gives access to the one inside.
#[test]
fn the_inner_service_is_within_reach() {
    macro_rules! check {
        ($layer:expr) => {
            let mut service = $layer.layer(1);
            assert_eq!(*service.get_ref(), 1);
            *service.get_mut() = 2;
            assert_eq!(service.clone().into_inner(), 2);
        };
    }
    check!(IdempotencyKeyLayer::default());
    check!(SendDeadlineLayer::default());
    check!(ReplayLayer::default());
}

/// R83 R89 Around and inside a Pipeline, nested, under a Dispatcher, and with reqwest's requests.
#[tokio::test(start_paused = true)]
async fn they_go_with_the_other_layers() {
    fn answers<R: Send + 'static>() -> Scripted<R, u32> {
        Scripted::always(|_| Ok(1))
    }
    let pipeline = || {
        Pipeline::new()
            .retry(pipeline::Identity::new())
            .build()
            .unwrap()
    };
    let stack = tower::ServiceBuilder::new()
        .layer(quiet())
        .layer(IdempotencyKeyLayer::new())
        .layer(ReplayLayer::new())
        .layer(pipeline())
        .layer(IdempotencyKeyLayer::new())
        .layer(ReplayLayer::new())
        .layer(SendDeadlineLayer::new())
        .layer(SendDeadlineLayer::new())
        .service(answers());
    assert_eq!(stack.clone().oneshot(post()).await.unwrap(), 1);
    let dispatcher = Dispatcher::new(stack);
    let job = dispatcher.dispatch(post());
    assert_eq!(job.await.unwrap(), 1);

    let stack = tower::ServiceBuilder::new()
        .layer(IdempotencyKeyLayer::new().key_with(|_: &reqwest::Request| None))
        .layer(IdempotencyKeyLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(SendDeadlineLayer::new())
        .service(answers());
    let url = "https://example.com/".parse().unwrap();
    let request = reqwest::Request::new(Method::POST, url);
    assert_eq!(stack.oneshot(request).await.unwrap(), 1);
}
