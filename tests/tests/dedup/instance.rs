//! Which instance of the inner service an execution is served by.

use std::{
    future::{Ready, poll_fn, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep::{BoxError, DedupLayer};
use tower_keep_tests::*;

/// Knows how often it was cloned, and how often it was called itself.
#[derive(Debug, Default)]
struct Instance {
    clones: u32,
    calls: u32,
}

impl Clone for Instance {
    fn clone(&self) -> Self {
        Self {
            clones: self.clones + 1,
            calls: self.calls,
        }
    }
}

impl Service<u32> for Instance {
    type Response = (u32, u32);
    type Error = BoxError;
    type Future = Ready<Result<(u32, u32), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        self.calls += 1;
        ready(Ok((self.clones, self.calls)))
    }
}

fn key(request: &u32) -> Option<u32> {
    (*request > 0).then_some(*request)
}

/// R66 The instance that was called serves the execution, in every mode and without a key; a clone
/// takes the next calls.
#[tokio::test(start_paused = true)]
async fn the_called_instance_serves_the_execution() {
    let mut reject = DedupLayer::new(key).layer(Instance::default());
    let mut join = DedupLayer::new(key).join().layer(Instance::default());
    let mut latest = DedupLayer::new(key).latest().layer(Instance::default());
    let mut debounce = DedupLayer::new(key)
        .debounce(ms(1))
        .layer(Instance::default());
    for (round, request) in [1, 0, 1, 2].into_iter().enumerate() {
        let expected = (u32::try_from(round).unwrap(), 1);
        for answer in [
            reject.ready().await.unwrap().call(request).await,
            join.ready().await.unwrap().call(request).await,
            latest.ready().await.unwrap().call(request).await,
            debounce.ready().await.unwrap().call(request).await,
        ] {
            assert_eq!(answer.unwrap(), expected);
        }
    }
}

/// R52: what an execution had borrowed from the service is given back before its key is free.
#[tokio::test(start_paused = true)]
async fn the_service_is_free_before_the_key() {
    struct Borrowed(Box<dyn Fn() + Send>);
    impl Drop for Borrowed {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    for joins in [false, true] {
        let held = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&held);
        let rejects = DedupLayer::new(|key: &u32| Some(*key));
        let joining = by_number().join();
        let (one, other) = (rejects.clone(), joining.clone());
        let inner = service_fn(move |request: u32| {
            let (note, one, other) = (Arc::clone(&note), one.clone(), other.clone());
            let borrowed = Borrowed(Box::new(move || {
                note.store(one.in_flight() + other.in_flight() == 1, Ordering::Relaxed);
            }));
            poll_fn(move |_| {
                let _ = &borrowed;
                Poll::Ready(Ok::<_, BoxError>(request))
            })
        });
        let service = if joins {
            Stack::new(joining.layer(inner))
        } else {
            Stack::new(rejects.layer(inner))
        };
        service.oneshot(1).await.unwrap();
        assert!(held.load(Ordering::Relaxed), "joins: {joins}");
    }
}
