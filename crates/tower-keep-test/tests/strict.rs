//! The strict-readiness probe.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep_test::{Gate, Polled, Readiness, Scripted, Strict, StrictLayer};

fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(work))
        .err()
        .expect("it should have panicked");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

fn echo() -> Strict<Scripted<u32, u32>> {
    Scripted::always(Ok).strict()
}

#[tokio::test]
async fn an_orderly_caller_notices_nothing() {
    let mut service = echo();
    let probe = service.probe();
    assert_eq!((probe.polls(), probe.calls(), probe.clones()), (0, 0, 0));
    assert!(format!("{service:?}").contains("state: Fresh"));
    for request in 0..3 {
        assert!(service.ready().await.is_ok());
        assert!(service.ready().await.is_ok());
        assert_eq!(service.call(request).await, Ok(request));
    }
    assert_eq!(service.clone().oneshot(9).await, Ok(9));
    assert_eq!((probe.polls(), probe.calls(), probe.clones()), (7, 4, 1));
}

#[tokio::test]
async fn a_call_without_readiness_panics() {
    let mut service = echo();
    assert!(panic_of(|| service.call(1)).contains("never returned `Ready(Ok(()))`"));
    assert_eq!(service.probe().calls(), 0);
}

#[tokio::test]
async fn readiness_is_used_up_by_a_call() {
    let mut service = echo();
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    assert!(panic_of(|| service.call(2)).contains("since its last call"));
}

#[tokio::test]
async fn a_clone_inherits_no_readiness() {
    let mut service = echo();
    assert!(service.ready().await.is_ok());
    let mut clone = service.clone();
    assert!(panic_of(|| clone.call(1)).contains("a clone inherits none"));
    // The original keeps its own.
    assert_eq!(service.call(1).await, Ok(1));
}

#[tokio::test]
async fn pending_is_not_ready() {
    let gate = Gate::new();
    let mut service = Scripted::<u32, u32>::always(Ok)
        .readiness(Readiness::ok().when(&gate))
        .strict();
    Polled::new(poll_fn(|cx| service.poll_ready(cx))).assert_waiting();
    assert!(panic_of(|| service.call(1)).contains("`call` without readiness"));
    gate.open();
    assert!(service.ready().await.is_ok());
}

#[tokio::test]
async fn after_an_error_the_service_is_over() {
    let mut service = Scripted::<u32, u32>::always(Ok)
        .readiness(Readiness::error("broken"))
        .strict();
    assert_eq!(service.ready().await.err(), Some("broken"));
    assert!(panic_of(|| service.call(1)).contains("`call` after `poll_ready` returned an error"));
    let again = panic_of(|| Polled::new(poll_fn(|cx| service.poll_ready(cx))).poll());
    assert!(
        again.contains("`poll_ready` after it returned an error"),
        "{again}"
    );
    // Its clone is another service.
    assert!(service.clone().ready().await.is_ok());
}

/// A future that would answer as often as it is polled.
struct Tireless;

impl Future for Tireless {
    type Output = Result<(), Infallible>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_completed_response_is_not_polled_again() {
    let mut service = Strict::new(service_fn(|()| Tireless));
    let mut response = service.ready().await.unwrap().call(());
    assert_eq!(Polled::new(&mut response).assert_ready(), Ok(()));
    let message = panic_of(|| Polled::new(&mut response).poll());
    assert_eq!(message, "strict: a response was polled after it completed");
}

#[tokio::test]
async fn a_layer_counts_over_all_its_services() {
    let layer = StrictLayer::new();
    let (mut one, mut two) = (
        layer.layer(echo().into_inner()),
        layer.layer(echo().into_inner()),
    );
    assert_eq!(one.ready().await.unwrap().call(1).await, Ok(1));
    assert_eq!(two.ready().await.unwrap().call(2).await, Ok(2));
    drop(one.clone());
    let probe = layer.probe();
    assert_eq!((probe.polls(), probe.calls(), probe.clones()), (2, 2, 1));
}

/// Neither `Send` nor `Sync`, and so is its future.
#[derive(Clone)]
struct Local(Rc<Cell<u32>>);

impl Service<Rc<u32>> for Local {
    type Response = Rc<u32>;
    type Error = Infallible;
    type Future = Ready<Result<Rc<u32>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Rc<u32>) -> Self::Future {
        self.0.set(self.0.get() + 1);
        ready(Ok(request))
    }
}

#[tokio::test]
async fn services_that_are_not_send_can_be_probed() {
    let count = Rc::new(Cell::new(0));
    let mut service = StrictLayer::new().layer(Local(count.clone())).clone();
    assert_eq!(
        service.ready().await.unwrap().call(Rc::new(5)).await,
        Ok(Rc::new(5))
    );
    assert_eq!(count.get(), 1);
}
