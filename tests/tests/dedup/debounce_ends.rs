//! How a call that waits for quiet ends, or the call that it waits for, and what becomes of their
//! jobs.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimit};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, RetryLayer,
    TimeoutLayer, circuit_breaker::State, find, timeout::Elapsed,
};
use tower_keep_test::{Polled, Readiness, Scripted, Step};
use tower_keep_tests::*;

use super::{
    debounce::{call_at, echo, executed},
    reject_and_join::{ends_in_every_way, every_ending},
};

/// R52, R54b: a call that waits may leave: nobody runs then, the calls it replaced do not come
/// back, and the next call begins a burst of its own.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_may_leave() {
    let dedup = by_tens().debounce(secs(1)).max_wait(ms(1500));
    let inner = echo(ms(1));
    let calls = inner.calls();
    let mut service = dedup.layer(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    let mut second = Polled::new(begin(&mut service, 2).await);
    second.assert_waiting();
    drop(second);
    assert_eq!(dedup.in_flight(), 0);
    replaced(&first.assert_ready().unwrap_err());
    tokio::time::advance(secs(1)).await;
    assert_eq!(calls.count(), 0);

    let third = begin(&mut service, 3).await;
    tokio::time::advance(ms(900)).await;
    let fourth = begin(&mut service, 4).await;
    assert_eq!(fourth.await.unwrap(), 4);
    replaced(&third.await.unwrap_err());
    // The burst began with the third call, at 1 s.
    assert_eq!(calls.started_at(), [ms(2500)]);
}

/// R52: a call that waits for the running call goes on when that is dropped, is woken for it, and
/// finds the service free.
#[tokio::test(start_paused = true)]
async fn a_dropped_execution_wakes_the_waiting_call() {
    for polls in 0..2 {
        let dedup = by_tens().debounce(Duration::ZERO);
        let inner = Scripted::<u32, u32>::new()
            .times(polls, Step::never)
            .answer(2);
        let mut service = ServiceBuilder::new()
            .layer(dedup.clone())
            .concurrency_limit(1)
            .service(inner.strict());
        let mut first = Polled::new(begin(&mut service, 1).await);
        (0..polls).for_each(|_| first.assert_waiting());
        let mut second = Polled::new(begin(&mut service, 2).await);
        second.assert_waiting();
        drop(first);
        second.assert_woken();
        assert_eq!(second.assert_ready().unwrap(), 2);
        assert_eq!(dedup.in_flight(), 0);
    }
}

/// R52: when the call ends the key is free: success, failure, readiness error, timeout, cancel,
/// panic, drop; and the waiting call then runs.
#[tokio::test(start_paused = true)]
async fn the_key_is_free_after_every_ending() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let dedup = by_tens().debounce(Duration::ZERO);
    let inner = every_ending()
        .readiness(Readiness::error("not ready"))
        .never()
        .answer(2)
        .answer(3);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(dedup.clone())
        .layer(TimeoutLayer::new(secs(1)))
        .service(inner.strict());
    let free = || assert_eq!(dedup.in_flight(), 0);

    let error = begin(&mut service, 1).await.await.unwrap_err();
    assert_eq!(error.to_string(), "not ready");
    free();
    ends_in_every_way(&mut service, &handle, free, |panicked| {
        assert!(panicked.unwrap_err().is_panic());
    })
    .await;
    drop(begin(&mut service, 1).await);
    free();
    let mut running = Polled::new(begin(&mut service, 1).await);
    running.assert_pending();
    let waiting = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    assert_eq!((dedup.in_flight(), calls.in_flight()), (1, 1));
    drop(running);
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    free();
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 3);
    free();
}

/// R3, R11: a job that waits can be cancelled, and ends at once; so does one whose time limit
/// outside expires.
#[tokio::test(start_paused = true)]
async fn a_wait_can_be_ended_from_outside() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let dedup = by_tens().debounce(secs(10));
    let handle = cancel.handle();
    let inner = echo(secs(1));
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .layer(TimeoutLayer::new(secs(5)))
        .layer(dedup.clone())
        .service(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    assert!(handle.cancel(handle.jobs()[0].job));
    first.assert_woken();
    assert_eq!(
        reason(&first.assert_ready().unwrap_err()),
        CancelReason::Requested
    );
    assert_eq!(dedup.in_flight(), 0);

    let error = begin(&mut service, 2).await.await.unwrap_err();
    assert!(find::<Elapsed>(&*error).is_some());
    assert_eq!((dedup.in_flight(), calls.count()), (0, 0));
    assert_eq!(recorder.count("started"), 0);
    recorder.assert_one_terminal_each();
}

/// R10, R58, R59: a replaced call is not retried and counts in no circuit, outside and inside. A
/// retry outside waits for quiet before each attempt, one inside keeps its place.
#[tokio::test(start_paused = true)]
async fn a_replaced_call_is_not_retried_and_does_not_count() {
    for retry_outside in [true, false] {
        let (log, recorder) = recording();
        let circuit = CircuitBreakerLayer::new().failure_threshold(1);
        let state = circuit.handle();
        let inner = Scripted::<u32, u32>::new().error("no").answer(2);
        let calls = inner.calls();
        let service = inner.strict();
        let service = if retry_outside {
            let stack = ServiceBuilder::new().layer(log).layer(circuit);
            let stack = stack
                .layer(RetryLayer::new())
                .layer(by_tens().debounce(secs(3)));
            Stack::new(stack.service(service))
        } else {
            let stack = ServiceBuilder::new()
                .layer(log)
                .layer(by_tens().debounce(secs(3)));
            let stack = stack.layer(circuit).layer(RetryLayer::new());
            Stack::new(stack.service(service))
        };
        let results = call_at(&service, &[ms(0), ms(0)]).await;
        assert_eq!(executed(&results), [2]);
        assert_eq!(
            (state.state(), state.snapshot().failures_in_a_row),
            (State::Closed, 0)
        );
        let again = if retry_outside { secs(7) } else { secs(4) };
        assert_eq!(calls.started_at(), [secs(3), again]);
        assert_eq!(recorder.count("retry_scheduled"), 1, "{recorder}");
        recorder.assert_one_terminal_each();
        let ended: Vec<_> = recorder
            .jobs()
            .iter()
            .map(|job| recorder.terminal(*job))
            .collect();
        assert!(matches!(
            ended[..],
            [
                Some(EventKind::Cancelled {
                    reason: CancelReason::Replaced,
                    ..
                }),
                Some(EventKind::Succeeded)
            ]
        ));
    }
}

/// R2, R58: under a retry around the layer, an older job that comes back with another attempt does
/// not take the place from a newer job that waits for quiet: it is replaced itself.
#[tokio::test(start_paused = true)]
async fn a_retry_outside_does_not_take_the_place_back() {
    let inner = Scripted::<u32, u32>::new().error("no").answer(2);
    let calls = inner.calls();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(by_tens().debounce(secs(1)))
        .service(inner.strict());
    // The older one fails at 1 s, and is back at 2 s.
    let results = call_at(&service, &[ms(0), ms(1500)]).await;
    assert_eq!(executed(&results), [2]);
    assert_eq!(calls.started_at(), [secs(1), ms(2500)]);
    let older = recorder.jobs()[0];
    assert_eq!(
        recorder.times_of(older).last(),
        Some(&("cancelled", secs(2)))
    );
    recorder.assert_one_terminal_each();
}

/// Two calls of one job, as a hedge around the layer makes them: the waiting call is replaced, the
/// job goes on.
#[tokio::test(start_paused = true)]
async fn a_second_call_of_the_same_job_does_not_cancel_it() {
    let (log, recorder) = recording();
    let hedged = by_tens().debounce(secs(1)).layer(echo(secs(1)).strict());
    let hedge = tower::service_fn(move |request: u32| {
        let mut service = hedged.clone();
        let (first, second) = (service.call(request), service.call(request));
        async move {
            let (first, second) = tokio::join!(first, second);
            replaced(&first.unwrap_err());
            second
        }
    });
    let mut service = log.layer(hedge);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    recorder.assert_names(["dispatched", "started", "succeeded"]);
}

/// The handle shows who runs and who waits, and counts.
#[tokio::test(start_paused = true)]
async fn the_handle_shows_who_waits() {
    let dedup = by_tens().debounce(secs(1));
    let handle = dedup.handle();
    let (log, recorder) = recording();
    let mut service = log.layer(dedup.layer(echo(secs(60)).strict()));
    let began = Instant::now();
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(secs(2)).await;
    let second = tokio::spawn(begin(&mut service, 2).await);
    tokio::time::sleep(secs(2)).await;
    let mut shown = handle.in_flight();
    shown.sort_by_key(|call| call.is_waiting());
    let shown: Vec<_> = shown
        .iter()
        .map(|call| {
            (
                *call.key(),
                call.job().unwrap(),
                call.since() - began,
                call.is_waiting(),
            )
        })
        .collect();
    let jobs = recorder.jobs();
    let expected = [(0, jobs[0], secs(0), false), (0, jobs[1], secs(2), true)];
    assert_eq!(shown, expected);
    assert_eq!(dedup.in_flight(), 1, "it is one key");
    assert_eq!(handle.counts().executions, 1);
    first.abort();
    tokio::time::sleep(ms(1)).await;
    let [shown] = &handle.in_flight()[..] else {
        panic!("one call is left")
    };
    assert_eq!((shown.job(), shown.is_waiting()), (Some(jobs[1]), false));
    assert_eq!(handle.counts().executions, 2);
    second.abort();
    tokio::time::sleep(ms(1)).await;
    assert!(handle.in_flight().is_empty());
}

/// No waker is left behind: not a waker that another poll replaced, nor that of a call that is over
/// but kept.
#[tokio::test(start_paused = true)]
async fn no_waker_is_left_behind() {
    struct Counted;
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let [one, other] = [(); 2].map(|()| Arc::new(Counted));
    let held = |waker: &Arc<Counted>| Arc::strong_count(waker) - 1;
    fn poll(call: &mut Pin<Box<impl Future>>, waker: &Arc<Counted>) -> bool {
        let waker = Waker::from(waker.clone());
        call.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    }
    let mut service = by_tens().debounce(secs(1)).layer(echo(secs(1)).strict());
    let mut first = Box::pin(service.call(1));
    assert!(!poll(&mut first, &one) && held(&one) > 0);
    assert!(!poll(&mut first, &other));
    assert!(held(&one) == 0 && held(&other) > 0);
    let mut second = Box::pin(service.call(2));
    assert!(poll(&mut first, &other));
    assert_eq!(held(&other), 0, "it was replaced");

    // It waits for the running call.
    assert!(!poll(&mut second, &one));
    tokio::time::advance(secs(1)).await;
    assert!(!poll(&mut second, &one));
    let mut third = Box::pin(service.call(3));
    assert!(!poll(&mut third, &other));
    tokio::time::advance(secs(1)).await;
    assert!(!poll(&mut third, &other) && poll(&mut second, &one));
    assert_eq!(held(&one), 0, "it has ended");
    drop(third);
    assert_eq!(held(&other), 0, "it was dropped");
}

/// R52: when the waiting call is woken, the call before it has given back what it had borrowed from
/// the service.
#[tokio::test(start_paused = true)]
async fn the_waiting_call_finds_the_service_free() {
    struct Looks(Arc<Semaphore>, AtomicUsize);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.available_permits(), Ordering::SeqCst);
        }
    }
    let permits = Arc::new(Semaphore::new(1));
    let inner = ConcurrencyLimit::with_semaphore(echo(secs(1)).strict(), permits.clone());
    let mut service = by_tens().debounce(Duration::ZERO).layer(inner);
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    let looks = Arc::new(Looks(permits, AtomicUsize::new(9)));
    let waker = Waker::from(looks.clone());
    let mut second = Box::pin(service.call(2));
    let polled = second.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    tokio::time::advance(secs(1)).await;
    assert_eq!(first.assert_ready().unwrap(), 1);
    assert_eq!(looks.1.load(Ordering::SeqCst), 1);
}

/// R51: across threads too, no two executions of one key run at a time, and every call comes to an
/// end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_two_at_a_time_across_threads() {
    let running = Arc::new(AtomicUsize::new(0));
    let inside = running.clone();
    let inner = tower::service_fn(move |request: u32| {
        let inside = inside.clone();
        async move {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
            for _ in 0..request % 3 {
                tokio::task::yield_now().await;
            }
            assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1, "two at a time");
            Ok::<_, BoxError>(request)
        }
    });
    let dedup = DedupLayer::new(|_: &u32| Some(0u8)).debounce(Duration::ZERO);
    let handle = dedup.handle();
    let service = dedup.layer(inner);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let mut service = service.clone();
        tasks.push(tokio::spawn(async move {
            let mut executed = 0;
            for request in 0..2_000 {
                match service.call(request).await {
                    Ok(_) => executed += 1,
                    Err(error) => drop(replaced(&error)),
                }
            }
            executed
        }));
    }
    let mut executed = 0;
    for task in tasks {
        executed += task.await.unwrap();
    }
    let counts = handle.counts();
    assert_eq!(counts.executions, executed);
    assert_eq!(counts.replaced + executed, 8_000);
    assert_eq!(dedup.in_flight(), 0);
}
