//! What can be seen of a dedup layer from outside, and how much it holds.

use std::{
    future::Future,
    hash::{Hash, Hasher},
    num::NonZeroUsize,
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use futures::executor::block_on;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{BoxError, DedupLayer, dedup::DedupHandle};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

fn key(key: &u32) -> Option<u32> {
    (*key != 0).then_some(*key)
}

fn counts(handle: &DedupHandle<u32>) -> [u64; 5] {
    let counts = handle.counts();
    [
        counts.executions,
        counts.joined,
        counts.rejected,
        counts.hits,
        counts.stale_hits,
    ]
}

/// R50, R51, R52: the keys in flight can be seen, each with the job that executes it, its followers
/// and since when.
#[tokio::test(start_paused = true)]
async fn keys_in_flight_are_seen() {
    // Whether the job begins outside the layer or inside it.
    for outside in [true, false] {
        type Boxed = tower::util::BoxCloneSyncService<u32, u32, BoxError>;
        let (log, recorder) = recording();
        let dedup = DedupLayer::new(key).join();
        let inner = Scripted::<u32, u32>::new().times(3, || Step::answer(1).after(secs(10)));
        let builder = ServiceBuilder::new();
        let mut service = if outside {
            Boxed::new(
                builder
                    .layer(log)
                    .layer(dedup.clone())
                    .service(inner.strict()),
            )
        } else {
            Boxed::new(
                builder
                    .layer(dedup.clone())
                    .layer(log)
                    .service(inner.strict()),
            )
        };
        // It began before there was a handle, so that nobody noted it.
        let early = Polled::new(begin(&mut service, 1).await);
        let handle = dedup.handle();
        assert!(handle.in_flight().is_empty());
        assert_eq!(dedup.in_flight(), 1);
        drop(early);
        recorder.clear();

        let begun = Instant::now();
        let mut first = Polled::new(begin(&mut service, 7).await);
        first.assert_pending();
        let job = recorder.jobs()[0];
        tokio::time::sleep(secs(1)).await;
        let mut second = Polled::new(begin(&mut service, 7).await);
        let third = Polled::new(begin(&mut service, 7).await);
        let seen = &handle.in_flight()[0];
        assert_eq!(
            (*seen.key(), seen.job(), seen.since()),
            (7, Some(job), begun)
        );
        assert_eq!(seen.followers(), 2);
        drop(first);
        drop(third);
        second.assert_pending();
        assert_eq!(handle.in_flight()[0].followers(), 1);
        let mut other = Polled::new(begin(&mut service, 8).await);
        other.assert_pending();
        let mut keys: Vec<_> = handle.in_flight().iter().map(|seen| *seen.key()).collect();
        keys.sort_unstable();
        assert_eq!(keys, [7, 8]);
        drop((second, other));
        assert!(handle.in_flight().is_empty());
        assert_eq!(counts(&handle), [3, 2, 0, 0, 0]);
    }
}

/// R51, R7: what became of the calls is counted; those without a key are not.
#[tokio::test(start_paused = true)]
async fn calls_are_counted() {
    let dedup = DedupLayer::new(key);
    let handle = dedup.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::answer(1).after(secs(1)));
    let inner = inner.strict();
    let mut rejects = dedup.layer(inner.clone());
    let first = begin(&mut rejects, 1).await;
    for _ in 0..2 {
        begin(&mut rejects, 1).await.await.unwrap_err();
    }
    assert_eq!(handle.in_flight()[0].followers(), 0);
    drop((first, begin(&mut rejects, 0).await));
    assert_eq!(counts(&handle), [1, 0, 2, 0, 0]);

    let keeping = dedup
        .join()
        .cache(secs(10))
        .stale_while_revalidate(secs(10));
    let handle = keeping.handle();
    let mut service = keeping.layer(inner);
    let (first, second) = (begin(&mut service, 1).await, begin(&mut service, 1).await);
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
    begin(&mut service, 1).await.await.unwrap();
    assert_eq!(counts(&handle), [1, 1, 0, 1, 0]);
    tokio::time::sleep(secs(10)).await;
    for _ in 0..2 {
        begin(&mut service, 1).await.await.unwrap();
    }
    assert_eq!(counts(&handle), [2, 1, 0, 3, 2]);
    assert_eq!((handle.in_flight().len(), handle.cached()), (1, 1));
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(counts(&handle), [2, 1, 0, 3, 2]);
}

/// R54b: with a million distinct keys the kept results stay within their count and the tables
/// within their memory.
#[tokio::test(start_paused = true)]
async fn a_million_keys() {
    const MOST: usize = 1_000;
    const MILLION: u32 = 1_000_000;
    let dedup = DedupLayer::new(|key: &u32| Some(*key))
        .join()
        .cache(secs(60))
        .max_entries(NonZeroUsize::new(MOST).unwrap());
    let handle = dedup.handle();
    let mut service = dedup.layer(tower::service_fn(|key: u32| {
        std::future::ready(Ok::<_, std::convert::Infallible>([u64::from(key); 16]))
    }));
    let mut call = |key: u32| {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(service.call(key)).poll(&mut context) {
            Poll::Ready(Ok(answer)) => assert_eq!(answer[0], u64::from(key)),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => panic!("it waits for nothing"),
        }
    };
    // The tables get as large as they will.
    let warm = MILLION / 10;
    let first = allocation_counter::measure(|| (1..=warm).for_each(&mut call));
    assert_eq!(handle.cached(), MOST);
    let rest = allocation_counter::measure(|| (warm + 1..=MILLION).for_each(&mut call));
    assert_eq!((handle.cached(), dedup.in_flight()), (MOST, 0));
    assert_eq!(handle.counts().executions, u64::from(MILLION));
    // Each result is 128 bytes.
    assert!(first.bytes_current < 1_000_000, "{first:?}");
    assert!(rest.bytes_current.abs() < 1_000, "{rest:?}");
    assert!(rest.bytes_max < 10_000, "{rest:?}");

    // The last thousand, and no other, are there.
    (MILLION - 999..=MILLION).for_each(&mut call);
    assert_eq!(handle.counts().hits, 1_000);
}

/// R54b: followers are counted without the leader, also when that is gone.
#[tokio::test(start_paused = true)]
async fn followers_are_counted_without_the_first() {
    let dedup = DedupLayer::new(key).join();
    let handle = dedup.handle();
    let mut service = dedup.layer(Scripted::<u32, u32>::new().never());
    let mut calls = Vec::new();
    for _ in 0..3 {
        let mut call = Polled::new(begin(&mut service, 1).await);
        call.assert_pending();
        calls.push(call);
    }
    let followers = || handle.in_flight()[0].followers();
    assert_eq!(followers(), 2);
    drop(calls.remove(0));
    assert_eq!(followers(), 2, "the first one was none of them");
    drop(calls.remove(0));
    assert_eq!(followers(), 1);
}

/// A key whose clone runs a closure.
struct Key(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl Clone for Key {
    fn clone(&self) -> Self {
        if let Some(look) = self.0.get() {
            look();
        }
        Self(Arc::clone(&self.0))
    }
}

impl PartialEq for Key {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A key may use the layer whose key it is while it is cloned: no lock is held then.
#[tokio::test]
async fn a_key_is_cloned_without_a_lock() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, for if it hangs.
    std::thread::spawn(move || {
        let on_clone = Arc::new(OnceLock::new());
        let key = Key(Arc::clone(&on_clone));
        let dedup = DedupLayer::new(move |_: &u32| Some(Key(Arc::clone(&key.0))));
        let looked_at = dedup.clone();
        let look: Box<dyn Fn() + Send + Sync> = Box::new(move || {
            let _ = looked_at.in_flight();
        });
        assert!(on_clone.set(look).is_ok());
        let service = dedup.layer(Scripted::<u32, u32>::new().answer(1));
        let _ = tell.send(block_on(service.oneshot(0)).unwrap());
    });
    let told = tokio::time::timeout(secs(60), told).await;
    assert_eq!(told.expect("no deadlock").unwrap(), 1);
}
