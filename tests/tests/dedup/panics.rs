//! User code that panics in a Dedup layer: keys, services, errors and wakers.

use std::{
    error::Error,
    fmt::{self, Debug},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, DedupLayer, dedup::Duplicate, find};
use tower_keep_test::{Gate, Polled, Scripted, Step};
use tower_keep_tests::*;

type Hook = Box<dyn FnOnce() + Send>;

/// A service whose clone runs a hook, and then panics.
struct Unclonable(Arc<Mutex<Option<Hook>>>);

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        let hook = self.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
            panic!("it cannot be cloned");
        }
        Self(Arc::clone(&self.0))
    }
}

impl Service<u32> for Unclonable {
    type Response = u32;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        Box::pin(async move { Ok(request) })
    }
}

/// A caller joins while the leader's service is cloned, which panics: the follower learns that
/// there is no execution, and the key is free.
#[tokio::test(start_paused = true)]
async fn a_follower_of_a_call_that_could_not_begin() {
    let layer = DedupLayer::new(|request: &u32| Some(*request)).join();
    let hook = Arc::new(Mutex::new(None::<Hook>));
    let mut leader = layer.layer(Unclonable(Arc::clone(&hook)));
    let mut other = layer.layer(service_fn(|request: u32| async move {
        Ok::<_, BoxError>(request)
    }));
    let joined = Arc::new(Mutex::new(None));
    *hook.lock().unwrap() = Some({
        let (mut other, joined) = (other.clone(), Arc::clone(&joined));
        Box::new(move || {
            *joined.lock().unwrap() = Some(other.call(1));
        })
    });
    let called = catch_unwind(AssertUnwindSafe(|| drop(leader.call(1))));
    assert!(called.is_err());
    let follower = joined.lock().unwrap().take().unwrap();
    let error = follower.await.unwrap_err();
    let duplicate = find::<Duplicate>(&*error).unwrap();
    assert!(duplicate.execution_panicked(), "{duplicate}");
    assert_eq!(layer.in_flight(), 0);
    assert_eq!(other.ready().await.unwrap().call(1).await.unwrap(), 1);
}

/// A key that compares with no other while the flag is set.
#[derive(Clone, Debug)]
struct Incomparable(Arc<AtomicBool>);

impl PartialEq for Incomparable {
    fn eq(&self, _: &Self) -> bool {
        assert!(!self.0.load(Ordering::Relaxed), "it cannot be compared");
        true
    }
}

impl Eq for Incomparable {}

impl std::hash::Hash for Incomparable {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// In each mode, a call that leaves compares no keys: a panic of their `Eq` on the way in is the
/// only one, and the key is free once the first call has left.
#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_compares_no_keys() {
    async fn check<L, S>(name: &str, layer: L, panics: &AtomicBool, in_flight: impl Fn() -> usize)
    where
        L: Layer<Stack, Service = S>,
        S: Service<u32, Response = u32, Error = BoxError> + Clone,
        S::Response: Debug,
    {
        let mut service = layer.layer(Stack::new(service_fn(|request: u32| async move {
            Ok::<_, BoxError>(request)
        })));
        let first = service.ready().await.unwrap().call(1);
        assert_eq!(in_flight(), 1, "{name}");
        panics.store(true, Ordering::Relaxed);
        // It unwinds through the first call, too: a second panic would abort.
        let called = catch_unwind(AssertUnwindSafe(|| {
            let _first = first;
            drop(service.call(2));
        }));
        panics.store(false, Ordering::Relaxed);
        assert!(called.is_err(), "{name}");
        assert_eq!(in_flight(), 0, "{name}");
        assert_eq!(service.ready().await.unwrap().call(3).await.unwrap(), 3);
    }

    let panics = Arc::new(AtomicBool::new(false));
    let layer = || {
        let key = Incomparable(Arc::clone(&panics));
        DedupLayer::new(move |_: &u32| Some(key.clone()))
    };
    let reject = layer();
    let seen = reject.clone();
    check("reject", reject, &panics, || seen.in_flight()).await;
    let join = layer().join();
    let seen = join.clone();
    check("join", join, &panics, || seen.in_flight()).await;
    let latest = layer().latest();
    let seen = latest.clone();
    check("latest", latest, &panics, || seen.in_flight()).await;
    let debounce = layer().debounce(secs(1));
    let seen = debounce.clone();
    check("debounce", debounce, &panics, || seen.in_flight()).await;
}

/// Succeeds at once, and may panic when it is dropped after that.
struct Leaving {
    _held: Arc<()>,
    panics: bool,
    polled: bool,
}

impl Future for Leaving {
    type Output = Result<u32, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled = true;
        Poll::Ready(Ok(1))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        assert!(!(self.panics && self.polled), "left in anger");
    }
}

/// R54b: what panics as its execution is dropped is not kept; and the call is dropped with its
/// result, with a key and without.
#[tokio::test(start_paused = true)]
async fn a_call_goes_before_its_result() {
    let dedup = DedupLayer::new(|request: &u32| (*request > 0).then_some(*request));
    let dedup = dedup.join().cache(secs(60));
    let handle = dedup.handle();
    let held = Arc::new(());
    let inner = Arc::clone(&held);
    let mut service =
        ServiceBuilder::new()
            .layer(dedup)
            .service(service_fn(move |request: u32| Leaving {
                _held: Arc::clone(&inner),
                panics: request == 2,
                polled: false,
            }));
    for request in [0, 1] {
        let mut call = Box::pin(service.ready().await.unwrap().call(request));
        assert!(futures::poll!(call.as_mut()).is_ready());
        assert_eq!(Arc::strong_count(&held), 2, "request {request}");
    }
    assert_eq!(handle.cached(), 1);
    let error = service.ready().await.unwrap().call(2).await.unwrap_err();
    assert!(error.to_string().ends_with("left in anger"), "{error}");
    assert_eq!(handle.cached(), 1);
}

/// R6, R52: a caller whose waker panics costs no other its wake.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_costs_no_other_its_wake() {
    let gate = Gate::new();
    let inner = Scripted::<u32, u32, BoxError>::new().step(Step::answer(1).when(&gate));
    let mut service = by_number().join().layer(inner);
    let mut first = Polled::new(service.call(1));
    first.assert_waiting();
    let mut second = Box::pin(service.call(1));
    let waker = panicking_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(second.as_mut().poll(&mut cx).is_pending());
    let mut third = Polled::new(service.call(1));
    third.assert_waiting();
    gate.open();
    let _ = catch_unwind(AssertUnwindSafe(|| first.poll().is_ready()));
    assert!(third.is_woken());
    assert_eq!(third.assert_ready().unwrap(), 1);
}

/// An error that panics when it is to become text.
#[derive(Clone, Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("this error cannot be shown")
    }
}

impl Error for Unspeakable {}

/// An error that panics when it is to become the error that callers share.
#[derive(Clone, Debug)]
struct Unconvertible;

impl fmt::Display for Unconvertible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unconvertible")
    }
}

impl From<Unconvertible> for BoxError {
    fn from(_: Unconvertible) -> Self {
        panic!("this error cannot be converted")
    }
}

/// R54b: a panic in what is the error's own is one of the execution, and reaches each caller as an
/// error.
#[tokio::test(start_paused = true)]
async fn an_error_that_panics_is_an_error_for_each() {
    let shown = service_fn(async |_: u32| {
        tokio::time::sleep(secs(1)).await;
        Err::<u32, _>(Unspeakable)
    });
    let converted = service_fn(async |_: u32| {
        tokio::time::sleep(secs(1)).await;
        Err::<u32, _>(Unconvertible)
    });
    for service in [
        // For the job's end.
        by_number().join().layer(quiet().layer(shown)).boxed_clone(),
        by_number().join().layer(converted).boxed_clone(),
    ] {
        let calls = (0..3).map(|_| tokio::spawn(service.clone().oneshot(1)));
        for call in futures::future::join_all(calls).await {
            let error = call.expect("no panic").unwrap_err();
            let duplicate = find::<Duplicate>(&*error).expect("a duplicate");
            assert!(duplicate.execution_panicked());
        }
    }
}

/// R54b: the error says what the panic did, also to a caller that is alone.
#[tokio::test(start_paused = true)]
async fn the_panics_text_is_in_the_error() {
    for callers in 1..=3 {
        let service = by_number().join().layer(
            Scripted::<u32, u32, BoxError>::new().step(Step::panic("the reason").after(secs(1))),
        );
        let calls = (0..callers).map(|_| service.clone().oneshot(1));
        for result in futures::future::join_all(calls).await {
            let error = result.unwrap_err();
            let duplicate = find::<Duplicate>(&*error).expect("a duplicate");
            assert_eq!(duplicate.panic_message(), Some("the reason"));
            assert!(error.to_string().ends_with(": the reason"), "{error}");
        }
    }
}
