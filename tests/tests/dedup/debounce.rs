//! Dedup where a call waits until no other comes with its key, and the last one runs.

use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, Service};
use tower_keep::{BoxError, CancelReason, DedupLayer, EventKind};
use tower_keep_test::{Calls, Gate, Polled, Scripted, Step};
use tower_keep_tests::*;

/// A service that answers with the request after this long.
pub(crate) fn echo(after: Duration) -> Scripted<u32, u32> {
    Scripted::new()
        .otherwise(move || Step::with(Ok).after(after))
        .recording()
}

/// Calls the service at these times, each with its place in the list as the request, and waits for
/// all.
pub(crate) async fn call_at<S>(service: &S, times: &[Duration]) -> Vec<Result<u32, BoxError>>
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
pub(crate) fn executed(results: &[Result<u32, BoxError>]) -> Vec<u32> {
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
fn assert_started(calls: &Calls<u32>, requests: &[u32], times: &[Duration]) {
    assert_eq!(calls.requests(), requests);
    assert_eq!(calls.started_at(), times);
}

/// R54, R61: a call runs once nobody came with its key for as long, to the millisecond; those
/// before it are replaced.
#[tokio::test(start_paused = true)]
async fn the_last_one_runs_after_the_quiet() {
    let inner = echo(ms(1));
    let calls = inner.calls();
    let dedup = by_tens().debounce(secs(1));
    let service = dedup.layer(inner.strict());
    let times = [ms(0), ms(500), ms(1200), ms(2300), ms(3299)];
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results), [2, 4]);
    assert_started(&calls, &[2, 4], &[ms(2200), ms(4299)]);
    assert_eq!(dedup.in_flight(), 0);
}

/// R2: a call that waits is replaced at once, not when the other one runs.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_replaced_at_once() {
    let mut service = by_tens().debounce(secs(1)).layer(echo(ms(1)).strict());
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
        let service = by_tens().debounce(secs(1)).layer(inner.strict());
        let results = call_at(&service, &[ms(0), ms(1500), second]).await;
        assert_eq!(executed(&results), [0, 2]);
        assert_started(&calls, &[0, 2], &[ms(1000), started]);
        assert_eq!(calls.peak(), 1);
    }
}

/// The wait of a burst is not longer than it may be, counted from its first call; the next burst
/// has its own.
#[tokio::test(start_paused = true)]
async fn a_burst_may_be_limited() {
    let inner = echo(ms(1));
    let calls = inner.calls();
    let service = by_tens()
        .debounce(secs(1))
        .max_wait(ms(2500))
        .layer(inner.strict());
    // Never a second of quiet until the end.
    let times: Vec<_> = (0..8).map(|n| ms(800 * n)).collect();
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results), [3, 7]);
    // The second burst begins at 3.2 s.
    assert_started(&calls, &[3, 7], &[ms(2500), ms(5700)]);
}

/// A burst whose time is up runs its last call as soon as nothing else runs, without any more
/// quiet.
#[tokio::test(start_paused = true)]
async fn a_burst_that_is_due_waits_for_what_runs_only() {
    let inner = echo(secs(10));
    let calls = inner.calls();
    let service = by_tens()
        .debounce(secs(1))
        .max_wait(secs(2))
        .layer(inner.strict());
    let results = call_at(&service, &[ms(0), ms(2000), ms(10_900)]).await;
    assert_eq!(executed(&results), [0, 2]);
    assert_started(&calls, &[0, 2], &[ms(1000), ms(11_000)]);
}

/// Without any quiet, a call runs at once if nothing does, and of the calls that come meanwhile
/// only the last: what BullMQ calls keepLastIfActive.
#[tokio::test(start_paused = true)]
async fn no_quiet_keeps_the_last_while_one_runs() {
    let inner = echo(secs(5));
    let calls = inner.calls();
    let service = by_tens().debounce(Duration::ZERO).layer(inner.strict());
    let times = [ms(0), ms(1), ms(2000), ms(4999), ms(12_000)];
    let results = call_at(&service, &times).await;
    assert_eq!(executed(&results), [0, 3, 4]);
    assert_started(&calls, &[0, 3, 4], &[ms(0), ms(5000), ms(12_000)]);

    // It has its place before it is polled.
    let mut service = by_tens()
        .debounce(Duration::ZERO)
        .layer(echo(secs(5)).strict());
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
            let mut dedup = by_tens().debounce(quiet);
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
        let dedup = by_tens().debounce(Duration::MAX).max_wait(wait);
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
    let mut service = by_tens().debounce(secs(1)).layer(inner.strict());
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

/// R40b, R50, R63: a call that waits has the key, and has not started; if it is replaced while it
/// waits, it never does. The service is not asked whether it is ready before the wait is over.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_has_not_started() {
    let (log, recorder) = recording();
    let dedup = by_tens().debounce(secs(1));
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

/// A call that waits is woken by its timer and, where one runs then, by its end; it is not polled
/// in between.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_left_alone() {
    let ends = Gate::new();
    let inner = Scripted::<u32, u32>::new()
        .step(Step::answer(1).when(&ends))
        .answer(2);
    let mut service = by_tens().debounce(secs(1)).layer(inner.strict());
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

/// A call that waits for quiet is not woken by the end of what runs.
#[tokio::test(start_paused = true)]
async fn quiet_goes_on_when_what_runs_ends() {
    let mut service = by_tens().debounce(secs(1)).layer(echo(ms(100)).strict());
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
