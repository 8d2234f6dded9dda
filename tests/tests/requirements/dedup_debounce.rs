//! Dedup where a call waits until no other comes with its key, and the last one runs.

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
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimit, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, RetryLayer,
    TimeoutLayer,
    cancel::Cancelled,
    circuit_breaker::State,
    dedup::{Debounce, Duplicate, KeyBy},
    find,
    reject::Fail,
    timeout::Elapsed,
};
use tower_keep_test::{Calls, Gate, Polled, Readiness, Scripted, Step};

use super::support::*;

type Boxed = BoxCloneSyncService<u32, u32, BoxError>;
type ByTens = KeyBy<fn(&u32) -> Option<u32>, u32>;

/// Requests below 10 have a key in common, those below 20 another, and so on; those from 100 have none.
fn debounce(quiet: Duration) -> DedupLayer<ByTens, Debounce, Fail> {
    let key: fn(&u32) -> Option<u32> = |request| (*request < 100).then_some(*request / 10);
    DedupLayer::new(key).debounce(quiet)
}

/// A service that answers with the request after this long.
fn echo(after: Duration) -> Scripted<u32, u32> {
    Scripted::new()
        .otherwise(move || Step::with(Ok).after(after))
        .recording()
}

/// Calls the service at these times, each with its place in the list as the request, and waits for all.
async fn call_at<S>(service: &S, times: &[Duration]) -> Vec<Result<u32, BoxError>>
where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    let began = Instant::now();
    let calls = times.iter().zip(0..).map(|(at, request)| {
        let (at, mut service) = (*at, service.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(began + at).await;
            begin(&mut service, request).await.await
        })
    });
    let results = futures::future::join_all(calls).await;
    results.into_iter().map(Result::unwrap).collect()
}

/// Which of the calls had a result; the others were replaced.
#[track_caller]
fn executed(results: &[Result<u32, BoxError>]) -> Vec<u32> {
    let executed = results.iter().filter_map(|result| match result {
        Ok(request) => Some(*request),
        Err(error) => {
            replaced(error);
            None
        }
    });
    executed.collect()
}

#[track_caller]
fn replaced(error: &BoxError) -> &Duplicate {
    let duplicate = find::<Duplicate>(&**error).expect("a duplicate");
    let cancelled = duplicate.replaced().expect("it was replaced");
    assert_eq!(cancelled.reason(), &CancelReason::Replaced);
    assert_eq!(find::<Cancelled>(&**error), Some(cancelled));
    duplicate
}

#[track_caller]
fn assert_started(calls: &Calls<u32>, requests: &[u32], times: &[Duration]) {
    assert_eq!(calls.requests(), requests);
    assert_eq!(calls.started_at(), times);
}

/// R54, R61: a call runs once nobody came with its key for as long, to the millisecond; those before it are replaced.
#[tokio::test(start_paused = true)]
async fn the_last_one_runs_after_the_quiet() {
    let inner = echo(ms(1));
    let calls = inner.calls();
    let dedup = debounce(secs(1));
    let service = dedup.layer(inner.strict());
    let times = [ms(0), ms(500), ms(1200), ms(2300), ms(3299)];
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results), [2, 4]);
    assert_started(&calls, &[2, 4], &[ms(2200), ms(4299)]);
    assert_eq!(dedup.in_flight(), 0);
}

/// R2: one that waits is replaced at once, not when the other one runs.
#[tokio::test(start_paused = true)]
async fn one_that_waits_is_replaced_at_once() {
    let mut service = debounce(secs(1)).layer(echo(ms(1)).strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    let second = begin(&mut service, 2).await;
    first.assert_woken();
    replaced(&first.assert_ready().unwrap_err());
    assert_eq!(second.await.unwrap(), 2);
}

/// R51: what runs is not disturbed: who comes then waits for quiet, and for the end of what runs.
#[tokio::test(start_paused = true)]
async fn what_runs_is_not_disturbed() {
    for (second, started) in [(ms(2000), ms(6000)), (ms(5500), ms(6500))] {
        let inner = echo(secs(5));
        let calls = inner.calls();
        let service = debounce(secs(1)).layer(inner.strict());
        let results = call_at(&service, &[ms(0), ms(1500), second]).await;
        assert_eq!(executed(&results), [0, 2]);
        assert_started(&calls, &[0, 2], &[ms(1000), started]);
        assert_eq!(calls.peak(), 1);
    }
}

/// The wait of a burst is not longer than it may be, counted from its first call; the next burst has its own.
#[tokio::test(start_paused = true)]
async fn a_burst_may_be_limited() {
    let inner = echo(ms(1));
    let calls = inner.calls();
    let service = debounce(secs(1)).max_wait(ms(2500)).layer(inner.strict());
    // Never a second of quiet until the end.
    let times: Vec<_> = (0..8).map(|n| ms(800 * n)).collect();
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results), [3, 7]);
    // The second burst begins at 3.2 s.
    assert_started(&calls, &[3, 7], &[ms(2500), ms(5700)]);
}

/// A burst whose time is up runs its last call as soon as nothing else runs, without any more quiet.
#[tokio::test(start_paused = true)]
async fn a_burst_that_is_due_waits_for_what_runs_only() {
    let inner = echo(secs(10));
    let calls = inner.calls();
    let service = debounce(secs(1)).max_wait(secs(2)).layer(inner.strict());
    let results = call_at(&service, &[ms(0), ms(2000), ms(10_900)]).await;
    assert_eq!(executed(&results), [0, 2]);
    assert_started(&calls, &[0, 2], &[ms(1000), ms(11_000)]);
}

/// Without any quiet, a call runs at once if nothing does, and of those that come meanwhile only the last: what BullMQ
/// calls keepLastIfActive.
#[tokio::test(start_paused = true)]
async fn no_quiet_keeps_the_last_while_one_runs() {
    let inner = echo(secs(5));
    let calls = inner.calls();
    let service = debounce(Duration::ZERO).layer(inner.strict());
    let times = [ms(0), ms(1), ms(2000), ms(4999), ms(12_000)];
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results), [0, 3, 4]);
    assert_started(&calls, &[0, 3, 4], &[ms(0), ms(5000), ms(12_000)]);

    // It has its place before it is polled.
    let mut service = debounce(Duration::ZERO).layer(echo(secs(5)).strict());
    let first = begin(&mut service, 1).await;
    let second = begin(&mut service, 2).await;
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
}

/// Quiet without end is not waited for but by the limit of a burst, and no length of either panics.
#[tokio::test(start_paused = true)]
async fn any_length_will_do() {
    let now = Instant::now();
    let mut last = now;
    for bit in (0..64).rev() {
        last = last.checked_add(secs(1 << bit)).unwrap_or(last);
    }
    let long = [
        last - now,
        Duration::MAX,
        Duration::MAX - secs(1),
        secs(u64::MAX / 2),
        secs(1 << 40),
    ];
    for quiet in long {
        for wait in long.map(Some).into_iter().chain([None]) {
            let mut dedup = debounce(quiet);
            if let Some(wait) = wait {
                dedup = dedup.max_wait(wait);
            }
            let inner = echo(ms(1));
            let calls = inner.calls();
            let mut service = dedup.layer(inner.strict());
            let mut first = Polled::new(begin(&mut service, 1).await);
            first.assert_waiting();
            tokio::time::advance(secs(1000 * 24 * 3600)).await;
            assert_eq!(first.wakes(), 0);
            let mut second = Polled::new(begin(&mut service, 2).await);
            second.assert_waiting();
            replaced(&first.assert_ready().unwrap_err());
            assert_eq!(calls.count(), 0);
            drop(second);
            assert_eq!(dedup.in_flight(), 0);
        }
    }
    for wait in [Duration::ZERO, secs(3)] {
        let inner = echo(ms(1));
        let calls = inner.calls();
        let dedup = debounce(Duration::MAX).max_wait(wait);
        let results = call_at(&dedup.layer(inner.strict()), &[secs(1)]).await;
        assert_eq!(executed(&results), [0]);
        assert_eq!(calls.started_at(), [secs(1) + wait]);
    }
}

/// R54: a burst of a thousand calls is one execution.
#[tokio::test(start_paused = true)]
async fn a_burst_is_one_execution() {
    let inner = echo(ms(1));
    let calls = inner.calls();
    let dedup = DedupLayer::new(|_: &u32| Some(0u8)).debounce(secs(1));
    let handle = dedup.handle();
    let service = dedup.layer(inner.strict());
    let times: Vec<_> = (0..1000).map(|n| ms(n / 2)).collect();
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results).len(), 1);
    assert_eq!(calls.started_at(), [ms(1499)]);
    let counts = handle.counts();
    assert_eq!((counts.executions, counts.replaced), (1, 999));
    assert_eq!(counts.rejected + counts.joined + counts.hits, 0);
    assert!(handle.in_flight().is_empty());
}

/// R53: different keys do not know of each other; without a key there is no wait.
#[tokio::test(start_paused = true)]
async fn different_keys_run_side_by_side() {
    let inner = echo(secs(5));
    let calls = inner.calls();
    let mut service = debounce(secs(1)).layer(inner.strict());
    let mut under_way = Vec::new();
    for request in [1, 11, 100, 100] {
        under_way.push(begin(&mut service, request).await);
    }
    let results = futures::future::join_all(under_way).await;
    assert_eq!(executed(&results), [1, 11, 100, 100]);
    assert_eq!(calls.peak(), 4);
    let waited = [secs(0), secs(0), secs(1), secs(1)];
    assert_eq!(calls.started_at(), waited);
}

/// R40b, R50, R63: a call that waits has the key, and has not started; one that is replaced while it waits never does.
/// The service is not asked whether it is ready before the wait is over.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_has_not_started() {
    let (log, recorder) = recording();
    let dedup = debounce(secs(1));
    let inner = echo(secs(1));
    let calls = inner.calls();
    let mut service = log.layer(dedup.layer(inner.strict()));
    let first = tokio::spawn(begin(&mut service, 1).await);
    assert_eq!(dedup.in_flight(), 1);
    tokio::time::sleep(ms(900)).await;
    let second = tokio::spawn(begin(&mut service, 2).await);
    let error = first.await.unwrap().unwrap_err();
    assert_eq!((calls.polls(), calls.count()), (0, 0));
    assert_eq!(second.await.unwrap().unwrap(), 2);

    let [old, new] = recorder.jobs()[..] else {
        panic!("two jobs\n{recorder}")
    };
    let why = replaced(&error);
    assert_eq!(why.job(), Some(new));
    assert_eq!(why.replaced().unwrap().job(), Some(old));
    recorder.assert_names_of(old, ["dispatched", "cancelled"]);
    let expected = [
        ("dispatched", secs(0)),
        ("started", secs(1)),
        ("succeeded", secs(2)),
    ];
    assert_eq!(recorder.times_of(new), expected);
    assert!(matches!(
        recorder.terminal(old),
        Some(EventKind::Cancelled {
            reason: CancelReason::Replaced,
            ..
        })
    ));
    recorder.assert_one_terminal_each();
}

/// A call that waits is woken by its timer and, where one runs then, by its end; it is not polled in between.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_left_alone() {
    let ends = Gate::new();
    let inner = Scripted::<u32, u32>::new()
        .step(Step::answer(1).when(&ends))
        .answer(2);
    let mut service = debounce(secs(1)).layer(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    tokio::time::advance(ms(999)).await;
    assert_eq!(first.wakes(), 0);
    tokio::time::advance(ms(1)).await;
    assert_eq!(first.wakes(), 1);
    first.assert_waiting();

    let mut second = Polled::new(begin(&mut service, 2).await);
    second.assert_waiting();
    tokio::time::advance(secs(1)).await;
    assert_eq!(second.wakes(), 1);
    second.assert_waiting();
    tokio::time::advance(secs(3600)).await;
    assert_eq!(second.wakes(), 1);
    ends.open();
    assert_eq!(first.assert_ready().unwrap(), 1);
    assert_eq!(second.wakes(), 2);
    assert_eq!(second.assert_ready().unwrap(), 2);
    assert_eq!(second.polls(), 3);
}

/// One that waits for quiet is not woken by the end of what runs.
#[tokio::test(start_paused = true)]
async fn quiet_goes_on_when_what_runs_ends() {
    let mut service = debounce(secs(1)).layer(echo(ms(100)).strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    tokio::time::advance(secs(1)).await;
    first.assert_waiting();
    let mut second = Polled::new(begin(&mut service, 2).await);
    second.assert_waiting();
    tokio::time::advance(ms(100)).await;
    assert_eq!(first.assert_ready().unwrap(), 1);
    assert_eq!(second.wakes(), 0);
    tokio::time::advance(ms(900)).await;
    second.assert_woken();
    assert_eq!(second.await.unwrap(), 2);
}

/// R52, R54b: one that waits may leave: nobody runs then, those it replaced do not come back, and the next one begins a
/// burst of its own.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_may_leave() {
    let dedup = debounce(secs(1)).max_wait(ms(1500));
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

/// R52: whoever waits for what runs goes on when that is dropped, is woken for it, and finds the service free.
#[tokio::test(start_paused = true)]
async fn a_dropped_execution_wakes_the_one_that_waits() {
    for polls in 0..2 {
        let dedup = debounce(Duration::ZERO);
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

/// R52: when the call ends the key is free: success, failure, readiness error, timeout, cancel, panic, drop; and whoever
/// waits for it then runs.
#[tokio::test(start_paused = true)]
async fn the_key_is_free_after_every_ending() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let dedup = debounce(Duration::ZERO);
    let inner = Scripted::<u32, u32>::new()
        .readiness(Readiness::ok())
        .answer(1)
        .readiness(Readiness::error("not ready"))
        .error("no")
        .never()
        .never()
        .panic("in the future")
        .step(Step::panic_in_call("in call"))
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

    begin(&mut service, 1).await.await.unwrap();
    free();
    let error = begin(&mut service, 1).await.await.unwrap_err();
    assert_eq!(error.to_string(), "not ready");
    free();
    begin(&mut service, 1).await.await.unwrap_err();
    free();
    begin(&mut service, 1).await.await.unwrap_err();
    free();
    let cancelled = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    handle.cancel(handle.running()[0]);
    cancelled.await.unwrap().unwrap_err();
    free();
    for _ in 0..2 {
        let mut service = service.clone();
        let panicked = tokio::spawn(async move { begin(&mut service, 1).await.await }).await;
        assert!(panicked.unwrap_err().is_panic());
        free();
    }
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

/// R3, R11: a job that waits can be cancelled, and ends at once; so does one whose time limit outside expires.
#[tokio::test(start_paused = true)]
async fn a_wait_can_be_ended_from_outside() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let dedup = debounce(secs(10));
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
    assert!(handle.cancel(handle.running()[0]));
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

/// R10, R58, R59: a replaced call is not retried and counts in no circuit, outside and inside. A retry outside waits for
/// quiet before each attempt, one inside keeps its place.
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
            let stack = stack.layer(RetryLayer::new()).layer(debounce(secs(3)));
            Boxed::new(stack.service(service))
        } else {
            let stack = ServiceBuilder::new().layer(log).layer(debounce(secs(3)));
            let stack = stack.layer(circuit).layer(RetryLayer::new());
            Boxed::new(stack.service(service))
        };
        let results = call_at(&service, &[ms(0), ms(0)]).await;
        assert_eq!(executed(&results), [2]);
        assert_eq!((state.state(), state.failures()), (State::Closed, 0));
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

/// Two calls of one job, as a hedge around the layer makes them: the one that waited is replaced, the job goes on.
#[tokio::test(start_paused = true)]
async fn a_second_call_of_the_same_job_does_not_cancel_it() {
    let (log, recorder) = recording();
    let hedged = debounce(secs(1)).layer(echo(secs(1)).strict());
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
    let dedup = debounce(secs(1));
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

/// No waker is left behind: not the one that another poll replaced, nor that of a call that is over but kept.
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
    let mut service = debounce(secs(1)).layer(echo(secs(1)).strict());
    let mut first = Box::pin(service.call(1));
    assert!(!poll(&mut first, &one) && held(&one) > 0);
    assert!(!poll(&mut first, &other));
    assert!(held(&one) == 0 && held(&other) > 0);
    let mut second = Box::pin(service.call(2));
    assert!(poll(&mut first, &other));
    assert_eq!(held(&other), 0, "it was replaced");

    // The one that runs is waited for.
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

/// R52: as whoever waits is woken, what the one before had borrowed from the service is given back.
#[tokio::test(start_paused = true)]
async fn whoever_waits_finds_the_service_free() {
    struct Looks(Arc<Semaphore>, AtomicUsize);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.available_permits(), Ordering::SeqCst);
        }
    }
    let permits = Arc::new(Semaphore::new(1));
    let inner = ConcurrencyLimit::with_semaphore(echo(secs(1)).strict(), permits.clone());
    let mut service = debounce(Duration::ZERO).layer(inner);
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

/// R51: across threads too, no two executions of one key run at a time, and every call comes to an end.
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
