//! What a view says of amounts and attempts: rate, time left, the next attempt.

use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Dispatcher, Job, ProgressLayer, Report,
    RetryLayer, TimeoutLayer,
    progress::{JobState, JobView, ProgressHandle},
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

#[track_caller]
fn only(board: &ProgressHandle) -> JobView {
    let mut jobs = board.jobs();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

#[track_caller]
fn assert_rate(view: &JobView, expected: f64) {
    let rate = view.rate.expect("a rate");
    assert!((rate - expected).abs() < 1e-6, "{rate}, not {expected}");
}

/// Reports this many bytes more each second, from `from` to `to`.
async fn download(job: &Job, from: u64, to: u64, each: u64, total: Option<u64>) {
    let mut done = from;
    job.progress(Report::bytes(done, total));
    while done < to {
        tokio::time::sleep(secs(1)).await;
        done += each;
        job.progress(Report::bytes(done, total));
    }
}

/// R78 A view has the amount per second and the time left, as soon as there is a measure.
#[tokio::test(start_paused = true)]
async fn a_steady_job_has_a_rate_and_a_time_left() {
    for total in [Some(100), None] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let service = progress.layer(code(move |job, n| async move {
            download(&job, 0, 100, 10, total).await;
            Ok(n)
        }));
        let call = tokio::spawn(service.oneshot(1));
        tokio::time::sleep(ms(500)).await;
        // One report is no rate.
        let view = only(&board);
        assert_eq!((view.rate, view.time_left), (None, None));
        for done in 1..10_u64 {
            tokio::time::sleep(secs(1)).await;
            let view = only(&board);
            assert_eq!(view.report.done(), Some(done * 10));
            assert_rate(&view, 10.0);
            let left = view.time_left.map(|left| left.as_secs_f64().round());
            assert_eq!(left, total.map(|_| (10 - done) as f64));
        }
        call.await.unwrap().unwrap();
        let view = &board.history()[0];
        assert_eq!((view.rate, view.time_left), (None, None));
    }
}

/// R78 A job that is stuck has no rate after a while, and no time left at once it is known to be
/// stuck.
#[tokio::test(start_paused = true)]
async fn a_stuck_job() {
    for heartbeats in [false, true] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let service = progress.layer(code(move |job, n| async move {
            download(&job, 0, 50, 10, Some(100)).await;
            loop {
                tokio::time::sleep(secs(1)).await;
                if heartbeats {
                    job.progress(Report::bytes(50, Some(100)).message("still there"));
                }
                if n == 0 {
                    return Ok(n);
                }
            }
        }));
        let call = tokio::spawn(service.oneshot(1));
        tokio::time::sleep(ms(5500)).await;
        assert_rate(&only(&board), 10.0);
        let mut last = 10.0;
        for _ in 0..10 {
            tokio::time::sleep(ms(1500)).await;
            let view = only(&board);
            let rate = view.rate.unwrap();
            assert!(rate < last && rate > 0.0, "{rate} after {last}");
            assert!(view.time_left.unwrap() > secs(5));
            last = rate;
        }
        tokio::time::sleep(secs(2)).await;
        let view = only(&board);
        assert_eq!((view.rate, view.time_left), (Some(0.0), None));
        call.abort();
    }
}

/// R78 The rate follows a change of speed within some seconds; what is done or past its total has
/// no time left.
#[tokio::test(start_paused = true)]
async fn the_rate_follows_the_speed() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = progress.layer(code(|job, n| async move {
        download(&job, 0, 200, 10, Some(1000)).await;
        download(&job, 200, 1200, 100, Some(1000)).await;
        tokio::time::sleep(secs(1)).await;
        Ok(n)
    }));
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(ms(20_500)).await;
    assert_rate(&only(&board), 10.0);
    tokio::time::sleep(secs(5)).await;
    let rate = only(&board).rate.unwrap();
    assert!((60.0..75.0).contains(&rate), "{rate}");
    tokio::time::sleep(secs(3)).await;
    let view = only(&board);
    assert_eq!((view.report.fraction(), view.time_left), (Some(1.0), None));
    tokio::time::sleep(secs(2)).await;
    let view = only(&board);
    assert_eq!((view.report.done(), view.time_left), (Some(1200), None));
    assert!(view.rate.unwrap() > 80.0);
    call.await.unwrap().unwrap();
}

/// R78 Reports of one instant make no endless rate, and fractions between them make none at all.
#[tokio::test(start_paused = true)]
async fn reports_of_one_instant() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = progress.layer(code(|job, n| async move {
        for done in 0..100 {
            job.progress(Report::items(done << 50, None));
        }
        tokio::time::sleep(secs(1)).await;
        job.progress(0.5);
        tokio::time::sleep(secs(1)).await;
        Ok(n)
    }));
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(ms(10)).await;
    assert_eq!(only(&board).rate, None);
    tokio::time::sleep(secs(1)).await;
    let view = only(&board);
    assert_eq!((view.report.fraction(), view.rate), (Some(0.5), None));
    call.await.unwrap().unwrap();
}

/// R78 A retry begins the estimate again, whether it starts over or goes on where the last attempt
/// was.
#[tokio::test(start_paused = true)]
async fn a_retry_begins_again() {
    for resumes in [false, true] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let service = ServiceBuilder::new()
            .layer(progress)
            .layer(RetryLayer::new().base_delay(secs(4)))
            .service(code(move |job, n| async move {
                if job.attempt() == 1 {
                    download(&job, 0, 500, 100, Some(1000)).await;
                    return Err("cut off".into());
                }
                let from = if resumes { 500 } else { 0 };
                download(&job, from, 1000, 10, Some(1000)).await;
                Ok(n)
            }));
        let call = tokio::spawn(service.oneshot(1));
        tokio::time::sleep(ms(4500)).await;
        assert_rate(&only(&board), 100.0);
        // In the wait.
        tokio::time::sleep(secs(1)).await;
        let view = only(&board);
        assert_eq!(view.state, JobState::Backoff);
        assert_eq!((view.rate, view.time_left), (None, None));
        // Just after the first report of the second attempt, and after the second.
        tokio::time::sleep(secs(4)).await;
        assert_eq!(only(&board).rate, None);
        tokio::time::sleep(secs(1)).await;
        let view = only(&board);
        assert_rate(&view, 10.0);
        let left = view.time_left.unwrap().as_secs_f64().round();
        assert_eq!(left, if resumes { 49.0 } else { 99.0 });
        call.abort();
    }
}

/// R78 A job that joined another shows the rate of that, from when it joins on, watched or not, and
/// also once the first caller has left.
#[tokio::test(start_paused = true)]
async fn a_follower_has_the_rate_of_the_work() {
    for watched in [false, true] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let mut service = ServiceBuilder::new()
            .layer(progress)
            .layer(CancelLayer::new())
            .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
            .service(code(|job, n| async move {
                download(&job, 0, 1000, 10, Some(1000)).await;
                Ok(n)
            }));
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(ms(5500)).await;
        let second = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        let views = || {
            let mut jobs = board.jobs();
            jobs.sort_by_key(|view| view.job);
            jobs
        };
        let follower = views()[1].job;
        let _watch = watched.then(|| board.watch(follower).unwrap());
        for _ in 0..3 {
            let [leader, follower] = &views()[..] else {
                panic!("two jobs run")
            };
            assert_eq!(follower.state, JobState::Joined);
            assert_rate(follower, 10.0);
            assert_eq!(
                (follower.rate, follower.time_left),
                (leader.rate, leader.time_left)
            );
            tokio::time::sleep(secs(7)).await;
        }
        first.abort();
        tokio::time::sleep(secs(10)).await;
        let view = only(&board);
        assert_eq!(view.job, follower);
        assert_eq!(view.report.done(), Some(360));
        assert_rate(&view, 10.0);
        second.abort();
    }
}

/// R78 A view says when the next attempt begins, while it is waited for: to the moment.
#[tokio::test(start_paused = true)]
async fn the_time_of_the_next_attempt() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let inner = Scripted::<u32, u32, BoxError>::new()
        .error_after(secs(1), "first".into())
        .error_after(secs(1), "second".into())
        .answer_after(secs(1), 7);
    let calls = inner.calls();
    let begun = Instant::now();
    let service = ServiceBuilder::new()
        .layer(progress)
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .service(inner.strict());
    let call = tokio::spawn(service.oneshot(1));
    // Attempts at 0, 2 and 5 s; waits from 1 to 2 and from 3 to 5 s.
    for (at, attempt, attempt_at, next) in [
        (500, 1, 0, None),
        (1500, 1, 0, Some(2)),
        (2500, 2, 2, None),
        (3500, 2, 2, Some(5)),
        (4500, 2, 2, Some(5)),
        (5500, 3, 5, None),
    ] {
        tokio::time::sleep_until(begun + ms(at)).await;
        let view = only(&board);
        assert_eq!(view.attempt, attempt);
        assert_eq!(
            view.next_attempt_at,
            next.map(|next| begun + secs(next)),
            "at {at} ms"
        );
        assert_eq!(view.attempt_started_at, Some(begun + secs(attempt_at)));
        assert_eq!(view.state == JobState::Backoff, next.is_some());
    }
    call.await.unwrap().unwrap();
    assert_eq!(calls.started_at(), [secs(0), secs(2), secs(5)]);
    let view = &board.history()[0];
    assert_eq!(view.next_attempt_at, None);
    assert_eq!(view.attempt_started_at, Some(begun + secs(5)));
}

/// R78 A job that is cancelled while it waits has no next attempt, and its error is not that of an
/// old attempt.
#[tokio::test(start_paused = true)]
async fn cancelled_between_attempts() {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(Scripted::<u32, u32, BoxError>::always(|_| Err("503".into())).strict());
    let jobs = Dispatcher::new(stack);
    let handle = jobs.dispatch(1);
    let mut watch = handle.progress();
    tokio::time::sleep(ms(500)).await;
    let view = watch.latest();
    assert_eq!(view.error.as_deref(), Some("503"));
    assert!(view.next_attempt_at.is_some());
    assert!(jobs.cancel_handle().cancel(handle.id()));
    // From here on, also before its task runs again.
    let view = jobs.find(handle.id()).unwrap();
    assert_eq!(
        (view.state, view.next_attempt_at),
        (JobState::Backoff, None)
    );
    let view = watch.ended().await;
    assert_eq!(view.state, JobState::Cancelled(CancelReason::Requested));
    assert_eq!((view.next_attempt_at, view.error), (None, None));
    assert_eq!(view.state.to_string(), "cancelled: requested");
}

/// R78 The service was called for an attempt when its gate let it through, and not before it was
/// ready.
#[tokio::test(start_paused = true)]
async fn when_an_attempt_began() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(DedupLayer::new(|_: &u32| Some(1)).debounce(secs(3)))
        .service(code(|_, n| async move {
            tokio::time::sleep(secs(5)).await;
            Ok(n)
        }));
    let begun = Instant::now();
    let call = tokio::spawn(service.ready().await.unwrap().call(1));
    tokio::time::sleep(secs(1)).await;
    let view = only(&board);
    assert_eq!(
        (view.state, view.attempt_started_at),
        (JobState::Waiting, None)
    );
    tokio::time::sleep(secs(3)).await;
    assert_eq!(only(&board).attempt_started_at, Some(begun + secs(3)));
    call.await.unwrap().unwrap();
}
