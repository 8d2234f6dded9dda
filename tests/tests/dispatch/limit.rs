//! How many dispatched jobs run at a time, which calls wait for a permit, and which are turned
//! away.

use std::{
    error::Error,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};

use tower::{Service, ServiceExt};
use tower_keep::{
    BoxError, CancelReason, Dispatcher, EventKind, FailureCause,
    dispatch::{Cancelled, Full, TryDispatchError},
    find,
    progress::JobState,
};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

pub(super) const ONE: NonZeroUsize = NonZeroUsize::MIN;

pub(super) const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Each job takes a second.
pub(super) fn seconds() -> Scripted<u32, u32> {
    Scripted::new().answer_after(secs(1), 7).repeat_last()
}

/// At the limit a job is turned away at once: its handle says so, nothing is executed or cloned,
/// its job fails.
#[tokio::test(start_paused = true)]
async fn a_full_dispatcher_turns_away() {
    let inner = seconds();
    let calls = inner.calls();
    let jobs = Dispatcher::new(inner).limit(TWO);
    let mut events = jobs.progress_handle().subscribe();
    let running = [jobs.dispatch(0), jobs.dispatch(1)];
    assert_eq!((jobs.in_flight(), jobs.available()), (2, Some(0)));
    let clones = calls.clones();
    let refused = jobs.dispatch(2);
    assert!(refused.is_finished(), "at once");
    assert_eq!(refused.state(), JobState::Failed(FailureCause::Rejected));
    assert_eq!(calls.clones(), clones);
    let id = refused.id();
    let error = refused.await.unwrap_err();
    assert_eq!(find::<Full>(&*error), Some(&Full::new(2)));
    assert_eq!(
        error.to_string(),
        "job limit reached: 2 dispatched jobs are in flight"
    );
    for handle in running {
        assert_eq!(handle.await.unwrap(), 7);
    }
    assert_eq!(
        (calls.count(), jobs.in_flight(), jobs.available()),
        (2, 0, Some(2))
    );
    let mut of_refused = Vec::new();
    while let Some(Ok(event)) = events.try_recv() {
        if event.job == id {
            of_refused.push(event.kind);
        }
    }
    let [
        EventKind::Dispatched,
        EventKind::Failed {
            cause: FailureCause::Rejected,
            error,
        },
    ] = &of_refused[..]
    else {
        panic!("{of_refused:?}")
    };
    assert_eq!(
        &**error,
        "job limit reached: 2 dispatched jobs are in flight"
    );
    assert!(jobs.cancel_handle().jobs().is_empty());
    assert_eq!(jobs.dispatch(3).await.unwrap(), 7);
}

/// The request comes back from a full dispatcher, and there is no job.
#[tokio::test(start_paused = true)]
async fn the_request_comes_back() {
    let jobs = Dispatcher::new(seconds()).limit(ONE);
    let running = jobs.try_dispatch(0).expect("there is a permit");
    let mut events = jobs.progress_handle().subscribe();
    let refused = jobs.try_dispatch(42).unwrap_err();
    let expected = Full::new(1);
    assert!(matches!(&refused, TryDispatchError::Full { reason, .. } if *reason == expected));
    assert!(find::<Full>(&refused).is_some());
    assert!(events.try_recv().is_none(), "no job");
    running.await.unwrap();
    let request = refused.into_request();
    assert_eq!(request, 42);
    assert_eq!(jobs.try_dispatch(request).unwrap().await.unwrap(), 7);

    jobs.cancel_handle().shutdown_now();
    let refused = jobs.try_dispatch(42).unwrap_err();
    assert!(matches!(refused, TryDispatchError::ShutDown { .. }));
}

/// A reservation waits for a permit, in order, and no later caller gets it first.
#[tokio::test(start_paused = true)]
async fn permits_are_given_in_order() {
    let jobs = Dispatcher::new(seconds()).limit(ONE);
    let running = jobs.dispatch(0);
    let mut first = Polled::new(Box::pin(jobs.reserve()));
    let mut second = Polled::new(Box::pin(jobs.reserve()));
    let mut third = Polled::new(Box::pin(jobs.reserve()));
    first.assert_pending();
    second.assert_pending();
    third.assert_pending();
    running.await.unwrap();
    assert!(jobs.try_reserve().is_err(), "others wait");
    assert!(find::<Full>(&*jobs.dispatch(9).await.unwrap_err()).is_some());
    second.assert_waiting();
    // A caller that leaves gives its turn to the next, and so does a caller that drops its permit.
    drop(first);
    drop(second.assert_ready().unwrap());
    let handle = third.assert_ready().unwrap().dispatch(3);
    assert_eq!((jobs.in_flight(), jobs.available()), (1, Some(0)));
    assert_eq!(handle.await.unwrap(), 7);
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(1)));
}

/// A reserved permit is not in flight, and not available.
#[tokio::test(start_paused = true)]
async fn a_reserved_place_is_kept() {
    let jobs = Dispatcher::new(seconds()).limit(ONE);
    let permit = jobs.reserve().await.unwrap();
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(0)));
    assert!(matches!(
        jobs.try_reserve(),
        Err(TryDispatchError::Full { .. })
    ));
    drop(permit);
    let permit = jobs.try_reserve().unwrap();
    assert_eq!(permit.dispatch(0).await.unwrap(), 7);
    let unlimited = Dispatcher::new(seconds());
    assert_eq!(unlimited.available(), None);
    let _one = unlimited.reserve().await.unwrap();
    assert_eq!(
        unlimited.try_reserve().unwrap().dispatch(0).await.unwrap(),
        7
    );
    let huge = Dispatcher::new(seconds()).limit(NonZeroUsize::MAX);
    assert_eq!(huge.dispatch(0).await.unwrap(), 7);
}

/// A permit is free when the job's work is over, however it ends, and before the handle says so.
#[tokio::test(start_paused = true)]
async fn a_place_is_free_when_the_work_is_over() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 7)
        .error_after(secs(1), "broken")
        .step(tower_keep_test::Step::panic("oh").after(secs(1)))
        .never();
    let jobs = Dispatcher::new(inner).limit(ONE).grace(secs(5));
    for _ in 0..3 {
        let handle = jobs.dispatch(0);
        assert_eq!(jobs.available(), Some(0));
        let _ = handle.await;
        assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(1)));
    }
    let handle = jobs.dispatch(0);
    tokio::time::sleep(secs(1)).await;
    handle.cancel();
    tokio::time::sleep(secs(4)).await;
    assert_eq!(
        (jobs.in_flight(), jobs.available()),
        (1, Some(0)),
        "it cleans up"
    );
    handle.await.unwrap_err();
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(1)));
}

/// The permit is free before the caller that waits for the result can see it: already for the
/// closure that makes the error.
#[tokio::test(start_paused = true)]
async fn the_place_is_free_before_the_result_is_seen() {
    type Room = Box<dyn Fn() -> Option<usize> + Send + Sync>;
    let room = Arc::new(OnceLock::<Room>::new());
    let seen = Arc::clone(&room);
    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().panic("oh"))
        .limit(ONE)
        .fail_with(move |_| -> BoxError { format!("{:?}", seen.get().unwrap()()).into() });
    let other = jobs.clone();
    assert!(room.set(Box::new(move || other.available())).is_ok());
    assert_eq!(jobs.dispatch(0).await.unwrap_err().to_string(), "Some(1)");
}

/// As a service it is ready when there is a permit, holds it for its own call, and a clone holds
/// none.
#[tokio::test(start_paused = true)]
async fn the_service_waits_for_a_place() {
    let jobs = Dispatcher::new(seconds()).limit(ONE);
    let mut service = jobs.clone();
    service.ready().await.unwrap();
    assert_eq!(jobs.available(), Some(0));
    let mut clone = service.clone();
    let mut waiting = Polled::new(Box::pin(clone.ready()));
    waiting.assert_pending();
    let handle = service.call(0).await.unwrap();
    assert_eq!((jobs.in_flight(), jobs.available()), (1, Some(0)));
    handle.await.unwrap();
    waiting.assert_woken();
    waiting.assert_ready().unwrap();
    drop(waiting);
    assert_eq!(jobs.available(), Some(0));
    drop(clone);
    assert_eq!(jobs.available(), Some(1), "an unused permit is given back");
    // A call that is not ready is turned away as by `dispatch`.
    let _running = jobs.dispatch(0);
    let error = service.call(0).await.unwrap().await.unwrap_err();
    assert!(find::<Full>(&*error).is_some());
}

/// R5: a refusal says why: in words, as the source of the error, and how many may run.
#[tokio::test(start_paused = true)]
async fn a_refusal_says_why() {
    let jobs = Dispatcher::new(seconds()).limit(TWO);
    let _running = [1, 1].map(|request| jobs.dispatch(request));
    let refused = jobs.try_dispatch(2).unwrap_err();
    let words = "job limit reached: 2 dispatched jobs are in flight";
    assert_eq!(refused.to_string(), words);
    assert_eq!(refused.source().unwrap().to_string(), words);
    assert!(format!("{refused:?}").contains("Full"));
    assert_eq!(find::<Full>(&refused).map(Full::limit), Some(2));
    assert_eq!(refused.clone().into_request(), 2);

    jobs.cancel_handle().shutdown_now();
    let refused = jobs.try_dispatch(2).unwrap_err();
    let cancelled = find::<Cancelled>(&refused).unwrap();
    assert_eq!(cancelled.reason(), &CancelReason::Shutdown);
    assert_eq!(refused.to_string(), cancelled.to_string());
}
