//! Calls that were polled and then set aside, in a task that awaits another one.
//!
//! | a call | the other one, which is set aside | what the call gets | what the other one gets when it is polled |
//! |---|---|---|---|
//! | joins an execution | a caller, at any point: never polled, or woken and not polled again | the result, as early as if it were alone, as it drives the execution itself; limits inside expire in time | the same result, though a limit around it has passed |
//! | is answered with a stale result | the call for which the renewal began | the stale result at its first poll, and the new one once it is there: a task drives the renewal, which a call joins that comes too late for the stale result | the stale result |
//! | `latest` | the older call | its place at once; it takes as long as if it were alone | it was replaced: its work is dropped then, and a result that it had not been polled for is lost |
//! | `debounce` | waits for quiet or for its turn, which may have come | its place at once, and then its own quiet | it was replaced |
//! | `debounce` | runs | it waits until the other is dropped or polled to its end; a limit around that ends it only when it is polled | its result |
//! | reject mode | has the key | a `Duplicate` at its first poll, until the other is dropped or polled to its end; a limit around that frees the key only when it is polled, or in time in a task | its result |
//! | a half-open circuit | has the place | an `Open` at its first poll; the place is free when the probe's time is up, which runs from its call, or once that is dropped or over | its result, which the circuit no longer counts |
//! | the same with backpressure | has the place, called or not, or is first in the queue | it is ready when the probe's time is up, or the place is given up; the next in the queue a millisecond later, if the first was not polled | an instance that was not called asks again |
//! | a place of a dispatcher | the handle of the job that has it | the place when the job is over, as that has a task of its own; without a wait `Full` at once | its result |
//! | a place of a dispatcher | has reserved it, or had its turn while it was set aside | it waits until the place is used or dropped | the place |
//! | a foreign layer's permit | a call, or a joined execution, that holds it | it waits until the call is dropped or polled to its end, or all callers of the execution are dropped or one of them is | its result |
//! | `CancelLayer::replace` | the older job | its place at once; it takes as long as if it were alone | `Cancelled`; a grace period begins then |
//! | a shutdown | a job | it waits beyond its time, until the job is polled or dropped; in time for a job in a task | `Cancelled`, or its result if it is polled to its end before the time is up |
//!
//! Here the other is set aside at one point, in what a program may look like. The files
//! `dedup_set_aside_*` go through all points, and through scripts by chance.

use std::{
    num::NonZeroUsize,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::{FutureExt as _, StreamExt as _, future::Either, stream};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, LogLayer, Pipeline,
    RetryLayer, TimeoutLayer, circuit_breaker::Open, dedup::Duplicate, find,
};
use tower_keep_tests::*;

/// A service that takes a second, and how often it was called.
fn slow() -> (Stack, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let calls = Arc::clone(&count);
    let service = service_fn(move |request: u32| {
        calls.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(secs(1)).await;
            Ok::<_, BoxError>(request)
        }
    });
    (BoxCloneSyncService::new(service), count)
}

fn key(request: &u32) -> Option<u32> {
    Some(*request % 10)
}

/// Every way to join, bare and within stacks.
fn joining() -> Vec<(&'static str, Stack, Arc<AtomicU32>)> {
    let mut all = Vec::new();
    let mut add = |name, stack: &dyn Fn(Stack) -> Stack| {
        let (inner, count) = slow();
        all.push((name, stack(inner), count));
    };
    add("join", &|inner| {
        Stack::new(DedupLayer::new(key).join().layer(inner))
    });
    add("keep", &|inner| {
        Stack::new(DedupLayer::new(key).join().cache(secs(60)).layer(inner))
    });
    add("tracked", &|inner| {
        let layers = ServiceBuilder::new()
            .layer(LogLayer::new())
            .layer(CancelLayer::new())
            .layer(DedupLayer::new(key).join())
            .layer(RetryLayer::new())
            .layer(TimeoutLayer::new(secs(10)).per_attempt());
        Stack::new(layers.service(inner))
    });
    add("pipeline", &|inner| {
        let layer = Pipeline::new()
            .dedup(DedupLayer::new(key).join())
            .build()
            .unwrap();
        Stack::new(layer.layer(inner))
    });
    add("below a timeout", &|inner| {
        let layers = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(30)))
            .layer(DedupLayer::new(key).join());
        Stack::new(layers.service(inner))
    });
    all
}

/// R64 The first call was polled once and is set aside: the second has the result, and then the
/// first.
#[tokio::test(start_paused = true)]
async fn the_first_call_is_set_aside() {
    for (name, service, count) in joining() {
        let mut first = pin!(service.clone().oneshot(1));
        assert!(first.as_mut().now_or_never().is_none(), "{name}");
        let second = tokio::time::timeout(secs(60), service.clone().oneshot(1));
        assert_eq!(second.await.expect(name).unwrap(), 1, "{name}");
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(count.load(Ordering::Relaxed), 1, "{name}");
    }
}

/// R64 The first call was never polled: the second has the result.
#[tokio::test(start_paused = true)]
async fn the_first_call_was_never_polled() {
    for (name, mut service, count) in joining() {
        let first = begin(&mut service, 1).await;
        let second = begin(&mut service, 1).await;
        let second = tokio::time::timeout(secs(60), second).await;
        assert_eq!(second.expect(name).unwrap(), 1, "{name}");
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(count.load(Ordering::Relaxed), 1, "{name}");
    }
}

/// R64 Another branch of a `select!` over a call awaits a call with the same key.
#[tokio::test(start_paused = true)]
async fn a_branch_of_a_select_joins() {
    for (name, service, count) in joining() {
        let mut first = pin!(service.clone().oneshot(1));
        let tick = pin!(tokio::time::sleep(ms(100)));
        let Either::Left(_) = futures::future::select(tick, first.as_mut()).await else {
            panic!("{name}: it takes a second");
        };
        let second = tokio::time::timeout(secs(60), service.clone().oneshot(11)).await;
        assert_eq!(second.expect(name).unwrap(), 1, "{name}");
        assert_eq!(first.await.unwrap(), 1, "{name}");
        assert_eq!(count.load(Ordering::Relaxed), 1, "{name}");
    }
}

/// R64 Calls are kept in a `Vec`, each polled once, and awaited from either end or from the middle.
#[tokio::test(start_paused = true)]
async fn calls_in_a_vec() {
    for (name, service, count) in joining() {
        for (round, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]]
            .into_iter()
            .enumerate()
        {
            let request = u32::try_from(round).unwrap();
            let mut calls: Vec<_> = (0..3)
                .map(|_| Some(Box::pin(service.clone().oneshot(request))))
                .collect();
            for call in calls.iter_mut().flatten() {
                let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Pending));
            }
            for index in order {
                let call = calls[index].take().unwrap();
                let result = tokio::time::timeout(secs(60), call).await;
                assert_eq!(result.expect(name).unwrap(), request, "{name}");
            }
            assert_eq!(count.load(Ordering::Relaxed), request + 1, "{name}");
        }
    }
}

/// R64 The body of a `buffer_unordered` loop calls with the key of a call that is in the buffer.
#[tokio::test(start_paused = true)]
async fn a_body_calls_with_a_buffered_key() {
    for (name, service, _) in joining() {
        let calls = stream::iter([1, 2, 3]).map(|request| service.clone().oneshot(request));
        let mut buffered = calls.buffer_unordered(2);
        let mut results = Vec::new();
        let all = async {
            while let Some(result) = buffered.next().await {
                results.push(result.unwrap());
                // One of the two is in the buffer, and is not polled meanwhile.
                results.push(service.clone().oneshot(2).await.unwrap());
                results.push(service.clone().oneshot(3).await.unwrap());
            }
        };
        tokio::time::timeout(secs(60), all).await.expect(name);
        assert_eq!(results.len(), 9, "{name}");
    }
}

/// R64 Whichever callers are set aside or dropped after the first poll, each that is left has the
/// result by itself.
#[tokio::test(start_paused = true)]
async fn any_subset_is_set_aside() {
    let rng = &mut fastrand::Rng::with_seed(64);
    for (name, service, _) in joining() {
        for _ in 0..200 {
            let request = rng.u32(0..1000);
            let mut calls: Vec<_> = (0..rng.usize(2..12))
                .map(|_| Some(Box::pin(service.clone().oneshot(request))))
                .collect();
            for call in &mut calls {
                let polled = rng.bool() && call.as_mut().unwrap().now_or_never().is_some();
                if polled || rng.u8(0..4) == 0 {
                    *call = None;
                }
            }
            rng.shuffle(&mut calls);
            for call in calls.into_iter().flatten() {
                let result = tokio::time::timeout(secs(60), call).await;
                let result = result.expect(name).unwrap();
                assert_eq!(result % 10, request % 10, "{name}");
            }
        }
    }
}

/// R64 A stale result is there at once, though the call that asked for it first is set aside: a
/// task renews it.
#[tokio::test(start_paused = true)]
async fn a_renewal_is_nobodys_to_set_aside() {
    let (inner, count) = slow();
    let layer = DedupLayer::new(key).join().cache(secs(10));
    let service = layer.stale_while_revalidate(secs(100)).layer(inner);
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    tokio::time::sleep(secs(20)).await;
    let mut first = service.clone();
    let aside = begin(&mut first, 1).await;
    tokio::time::sleep(secs(2)).await;
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    drop(aside);
}

/// R64 `latest`: a newer call never waits for an older one to be polled.
#[tokio::test(start_paused = true)]
async fn a_newer_call_has_its_place_at_once() {
    let (inner, count) = slow();
    let service = DedupLayer::new(key).latest().layer(inner);
    let mut older = pin!(service.clone().oneshot(1));
    assert!(older.as_mut().now_or_never().is_none());
    let newer = tokio::time::timeout(secs(60), service.clone().oneshot(1)).await;
    assert_eq!(newer.expect("it does not wait").unwrap(), 1);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    replaced(&older.await.unwrap_err());
}

/// R64 A Cancel layer that replaces jobs: a newer job never waits for an older one to be polled.
#[tokio::test(start_paused = true)]
async fn a_newer_job_begins_at_once() {
    let (inner, count) = slow();
    let service = CancelLayer::new().replace(key).layer(inner);
    let mut older = pin!(service.clone().oneshot(1));
    assert!(older.as_mut().now_or_never().is_none());
    let newer = tokio::time::timeout(secs(60), service.clone().oneshot(1)).await;
    assert_eq!(newer.expect("it does not wait").unwrap(), 1);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    older.await.unwrap_err();
}

/// R64 Reject mode and a half-open circuit: a call that was set aside keeps its key and its place;
/// no other waits for that.
#[tokio::test(start_paused = true)]
async fn an_exclusive_place_is_kept() {
    let (inner, _) = slow();
    let service = DedupLayer::new(key).layer(inner);
    let mut aside = Box::pin(service.clone().oneshot(1));
    assert!(aside.as_mut().now_or_never().is_none());
    let rejected = service.clone().oneshot(1).now_or_never().expect("at once");
    assert!(find::<Duplicate>(&*rejected.unwrap_err()).is_some());
    drop(aside);
    assert_eq!(service.oneshot(1).await.unwrap(), 1);

    let (inner, _) = slow();
    let circuit = CircuitBreakerLayer::new().probe_timeout(secs(5));
    let handle = circuit.handle();
    let service = circuit.layer(inner);
    handle.force_open_for(secs(1));
    tokio::time::sleep(secs(2)).await;
    let mut probe = Box::pin(service.clone().oneshot(1));
    assert!(probe.as_mut().now_or_never().is_none());
    let rejected = service.clone().oneshot(2).now_or_never().expect("at once");
    assert!(find::<Open>(&*rejected.unwrap_err()).is_some());
    tokio::time::sleep(secs(6)).await;
    assert_eq!(service.clone().oneshot(2).await.unwrap(), 2);
}

/// R64 What an execution holds is free when the caller that has the result goes on, though others
/// are set aside.
#[tokio::test(start_paused = true)]
async fn the_key_is_free_with_the_first_result() {
    let held = Arc::new(Mutex::new(()));
    let inner_held = Arc::clone(&held);
    let service = DedupLayer::new(key)
        .join()
        .layer(service_fn(move |request: u32| {
            let held = Arc::clone(&inner_held);
            async move {
                let _one_at_a_time = held.try_lock().map_err(|_| "two at a time")?;
                Ok::<_, BoxError>(request)
            }
        }));
    let mut aside = Vec::new();
    for round in 0..5 {
        let mut first = service.clone();
        aside.push(begin(&mut first, 1).await);
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 1, "{round}");
    }
    for call in aside {
        assert_eq!(call.await.unwrap(), 1);
    }
}

/// R64 `debounce`: the running call is not cut short, so that the next waits until it is over or
/// dropped.
#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_the_running_call() {
    let (inner, count) = slow();
    let service = DedupLayer::new(key).debounce(ms(100)).layer(inner);
    let mut running = Box::pin(service.clone().oneshot(1));
    // It is polled until it runs, and then set aside.
    let quiet = tokio::time::timeout(ms(200), running.as_mut());
    assert!(quiet.await.is_err());
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let mut next = Box::pin(service.clone().oneshot(1));
    let waits = tokio::time::timeout(secs(60), next.as_mut());
    assert!(waits.await.is_err(), "the docs say that it waits");
    drop(running);
    let next = tokio::time::timeout(secs(60), next).await;
    assert_eq!(next.unwrap().unwrap(), 1);
}

/// R64 A dispatched job runs in a task of its own: a handle that is set aside holds no place.
#[tokio::test(start_paused = true)]
async fn a_handle_holds_no_place() {
    let (inner, _) = slow();
    let jobs = Dispatcher::new(inner).limit(NonZeroUsize::MIN);
    let aside = jobs.dispatch(1);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(jobs.dispatch(2).await.unwrap(), 2);
    assert_eq!(aside.await.unwrap(), 1);
}

/// R64 A shutdown waits for a call that was set aside until its time is up, and then until that is
/// polled or dropped.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_its_time() {
    let (inner, _) = slow();
    let layer = CancelLayer::new();
    let handle = layer.handle();
    let service = layer.layer(inner);
    let mut aside = Box::pin(service.oneshot(1));
    assert!(aside.as_mut().now_or_never().is_none());
    let mut shutdown = Box::pin(handle.shutdown(secs(5)));
    let waits = tokio::time::timeout(secs(60), shutdown.as_mut());
    assert!(waits.await.is_err(), "the docs say that it waits");
    drop(aside);
    let counts = tokio::time::timeout(secs(60), shutdown).await.unwrap();
    assert_eq!((counts.finished, counts.cancelled), (0, 1));
}
