//! Keys and services whose own code panics.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep::{BoxError, DedupLayer, dedup::Duplicate, find};

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

/// A caller joins while the leader's service is cloned, which panics: the follower learns that there is no execution, and
/// the key is free.
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

/// In each mode, a call that leaves compares no keys: a panic of their `Eq` on the way in is the only one, and the key
/// is free once the first call has left.
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
