//! Which error a job's view shows.

use tower::{Layer, ServiceBuilder};
use tower_keep::{
    CancelLayer, CancelReason, DedupLayer, Dispatcher, ProgressLayer, RetryLayer, TimeoutLayer,
    progress::JobState,
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

fn fails_and_hangs() -> Scripted<u32, u32, &'static str> {
    Scripted::<u32, u32>::new().error("busy").never()
}

/// R76 A job that is cancelled shows no error of an attempt that failed before.
#[tokio::test(start_paused = true)]
async fn a_cancelled_job_shows_no_old_error() {
    for in_backoff in [false, true] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let mut service = ServiceBuilder::new()
            .layer(progress)
            .layer(cancel)
            .layer(RetryLayer::new())
            .service(fails_and_hangs().strict());
        let call = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(if in_backoff { ms(500) } else { secs(2) }).await;
        let view = &board.jobs()[0];
        assert_eq!(view.error.as_deref(), Some("busy"));
        let mut watch = board.watch(view.job).unwrap();
        handle.cancel(view.job);
        call.await.unwrap().unwrap_err();
        let ended = watch.ended().await;
        assert_eq!(ended.state, JobState::Cancelled(CancelReason::Requested));
        assert_eq!(ended.error, None);
        assert_eq!(board.history(), [ended]);
    }
}

/// R76 A job whose caller goes away, or whose dispatcher cancels it, shows no error of an attempt
/// that failed before.
#[tokio::test(start_paused = true)]
async fn no_way_of_cancelling_shows_an_old_error() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(RetryLayer::new())
        .service(fails_and_hangs().strict());
    let call = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(secs(2)).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(board.history()[0].error, None);

    let jobs = Dispatcher::new(RetryLayer::new().layer(fails_and_hangs()));
    let job = jobs.dispatch(1);
    tokio::time::sleep(secs(2)).await;
    assert!(job.cancel());
    let ended = job.progress().ended().await;
    assert_eq!(ended.error, None);
}

/// R76 Every other ending shows its own error, or none.
#[tokio::test(start_paused = true)]
async fn each_ending_shows_its_own_error() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("busy")
        .answer(1)
        .error("busy")
        .error("broken")
        .error("busy")
        .never();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(TimeoutLayer::new(secs(30)))
        .layer(RetryLayer::new().max_retries(1))
        .service(inner.strict());
    begin(&mut service, 1).await.await.unwrap();
    begin(&mut service, 1).await.await.unwrap_err();
    begin(&mut service, 1).await.await.unwrap_err();
    let errors: Vec<_> = board
        .history()
        .into_iter()
        .map(|view| view.error.map(|error| error.to_string()))
        .collect();
    assert_eq!(errors[0], None);
    assert_eq!(errors[1].as_deref(), Some("broken"));
    let timed_out = errors[2].as_deref().unwrap();
    assert!(timed_out.contains("30s"), "{timed_out}");
}

/// R76 A job that joined another shows no error of its own attempts once it is cancelled or gets
/// the result.
#[tokio::test(start_paused = true)]
async fn a_follower_shows_no_old_error() {
    for cancels in [false, true] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let inner = Scripted::<u32, u32>::new()
            .error("busy")
            .answer_after(secs(60), 7);
        let mut service = ServiceBuilder::new()
            .layer(progress)
            .layer(cancel)
            .layer(RetryLayer::new())
            .layer(DedupLayer::new(|_: &u32| Some(())).join())
            .service(inner);
        let first = tokio::spawn(begin(&mut service, 1).await);
        let second = tokio::spawn(begin(&mut service, 2).await);
        tokio::time::sleep(secs(2)).await;
        let [leader, follower] = &board.jobs()[..] else {
            panic!("two jobs run")
        };
        assert_eq!(follower.state, JobState::Joined);
        assert_eq!(follower.error.as_deref(), Some("busy"));
        if cancels {
            handle.cancel(follower.job);
            second.await.unwrap().unwrap_err();
            assert_eq!(board.find(follower.job).unwrap().error, None);
            handle.cancel(leader.job);
            first.await.unwrap().unwrap_err();
        } else {
            assert_eq!(first.await.unwrap().unwrap(), 7);
            assert_eq!(second.await.unwrap().unwrap(), 7);
        }
        assert!(board.history().iter().all(|view| view.error.is_none()));
    }
}
