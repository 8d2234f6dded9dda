//! Jobs found and cancelled by their ids from outside.

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, JobLayer, ProgressLayer,
    cancel::CancelHandle,
    progress::{JobState, JobView, ProgressHandle},
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

/// Jobs of ten requests have one id, on a board and in a cancel handle.
fn by_tens() -> (
    impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone,
    ProgressHandle,
    CancelHandle,
) {
    let (progress, cancel) = (ProgressLayer::new(), CancelLayer::new());
    let (board, handle) = (progress.handle(), cancel.handle());
    let service = ServiceBuilder::new()
        .layer(JobLayer::unnamed().identified_by(|n: &u32| Some((n / 10).to_string())))
        .layer(progress)
        .layer(cancel)
        .service(code(|_, n| async move {
            tokio::time::sleep(secs(n.into())).await;
            Ok(n)
        }));
    (service, board, handle)
}

fn ids(views: &[JobView]) -> Vec<tower_keep::JobId> {
    views.iter().map(|view| view.job).collect()
}

/// R78 An id need not be unique: all jobs that have it are found, oldest first, also ended jobs;
/// and all are cancelled.
#[tokio::test(start_paused = true)]
async fn jobs_that_have_the_same_id() {
    let (mut service, board, cancel) = by_tens();
    let first = begin(&mut service, 11).await;
    let other = begin(&mut service, 25).await;
    let second = begin(&mut service, 12).await;
    begin(&mut service, 10).await.await.unwrap();
    let found = board.find_external("1");
    assert_eq!(found.len(), 3);
    assert!(ids(&found).is_sorted());
    let states: Vec<_> = found.iter().map(|view| view.state.is_terminal()).collect();
    assert_eq!(states, [false, false, true]);
    let running: Vec<_> = (cancel.jobs().iter())
        .filter(|job| job.external_id.as_deref() == Some("1"))
        .map(|job| job.job)
        .collect();
    assert_eq!(running, ids(&found)[..2]);

    assert_eq!(cancel.cancel_external("1", "the customer left"), 2);
    assert_eq!(
        cancel.cancel_external("1", tower_keep::CancelReason::Requested),
        0,
        "they are cancelled already"
    );
    for call in [first, second] {
        let reason = reason(&call.await.unwrap_err());
        assert_eq!(reason, CancelReason::from("the customer left"));
    }
    assert_eq!(other.await.unwrap(), 25, "of another id");
    assert_eq!(board.find_external("1").len(), 3, "in the history");
    assert!(cancel.jobs().is_empty());
    assert_eq!(
        cancel.cancel_external("3", tower_keep::CancelReason::Requested),
        0
    );
    assert!(board.find_external("3").is_empty());
}

/// R78 A job is found as long as the history has it.
#[tokio::test(start_paused = true)]
async fn as_long_as_the_history_has_it() {
    let progress = ProgressLayer::new().history(2);
    let board = progress.handle();
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::unnamed().identified_by(|n: &u32| Some(n.to_string())))
        .layer(progress)
        .service(service_fn(|n: u32| async move { Ok::<_, BoxError>(n) }));
    for n in 0..4 {
        begin(&mut service, n).await.await.unwrap();
    }
    let found: Vec<_> = (0..4)
        .map(|n| board.find_external(&n.to_string()).len())
        .collect();
    assert_eq!(found, [0, 0, 1, 1]);
}

/// R78 A board outside the layer that identifies shows the id at once: to those who look, to
/// readers of all changes, and to who watches the job.
#[tokio::test(start_paused = true)]
async fn boards_show_a_late_id_at_once() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let (_, mut changes) = board.changes();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(JobLayer::new("job").identified_by(|n: &u32| Some(n.to_string())))
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .service(Scripted::<u32, u32>::new().never_ready());
    let call = begin(&mut service, 7).await;
    let waiting = board.find_external("7").pop().unwrap();
    assert_eq!(waiting.state, JobState::Waiting);
    let changed = changes.try_changed().unwrap();
    assert_eq!(changed.external_id.as_deref(), Some("7"));
    let watch = board.watch(waiting.job).unwrap();
    assert_eq!(watch.latest().external_id.as_deref(), Some("7"));
    drop(call);
    let ended = changes.try_changed().unwrap();
    assert_eq!(ended.external_id.as_deref(), Some("7"));
    assert_eq!(ended.state, JobState::Cancelled(CancelReason::CallerGone));
}

/// R78 That a job is identified is no other change of it: readers learn once that it has started.
#[tokio::test(start_paused = true)]
async fn readers_learn_once_that_it_has_started() {
    for identify in [false, true] {
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let (_, mut changes) = board.changes();
        let service = ServiceBuilder::new()
            .layer(JobLayer::unnamed().identified_by(move |_: &u32| identify.then_some("7")))
            .layer(progress)
            .service(code(|_, n| async move {
                tokio::time::sleep(secs(1)).await;
                Ok(n)
            }));
        let mut call = tokio_test::task::spawn(service.oneshot(7));
        assert!(call.poll().is_pending());
        let started = changes.try_changed().unwrap();
        assert_eq!(started.state, JobState::Running);
        assert_eq!(started.started_at, Some(started.changed_at));
        assert_eq!(changes.try_changed(), None);
        tokio::time::sleep(secs(1)).await;
        assert!(call.poll().is_ready());
        assert_eq!(changes.try_changed().unwrap().state, JobState::Succeeded);
        assert_eq!(changes.try_changed(), None);
    }
}

/// R78 A child has its own id only, and is not found by its parent's. Who cancels the parent
/// cancels the child along.
#[tokio::test(start_paused = true)]
async fn a_child_has_its_own_id() {
    for child_id in [None, Some("child")] {
        let (progress, cancel) = (ProgressLayer::new(), CancelLayer::new());
        let (board, handle) = (progress.handle(), cancel.handle());
        let stack = |id: Option<&'static str>| {
            ServiceBuilder::new()
                .layer(JobLayer::unnamed().identified_by(move |_: &u32| id))
                .layer(progress.clone())
                .layer(cancel.clone())
        };
        let client = stack(child_id).service(code(|_, _| std::future::pending()));
        let mut service = stack(Some("parent")).service(service_fn(move |n: u32| {
            let client = client.clone();
            async move { client.oneshot(n).await }
        }));
        let mut call = tokio_test::task::spawn(begin(&mut service, 1).await);
        assert!(call.poll().is_pending());
        let [parent, child] = &board.jobs()[..] else {
            panic!("two jobs: {board:?}")
        };
        assert_eq!(child.parent, Some(parent.job));
        assert_eq!(child.external_id.as_deref(), child_id);
        assert_eq!(ids(&board.find_external("parent")), [parent.job]);
        assert_eq!(
            handle.cancel_external("parent", tower_keep::CancelReason::Requested),
            1
        );
        call.await.unwrap_err();
        let ended = board.find(child.job).unwrap();
        assert!(matches!(ended.state, JobState::Cancelled(_)), "{ended:?}");
        let found = board.find_external("child").len();
        assert_eq!(found, child_id.iter().len());
    }
}

/// R78 A call that joined another's execution keeps its own id, and is cancelled by it alone.
#[tokio::test(start_paused = true)]
async fn a_follower_keeps_its_own_id() {
    let (progress, cancel) = (ProgressLayer::new(), CancelLayer::new());
    let (board, handle) = (progress.handle(), cancel.handle());
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::unnamed().identified_by(|n: &u32| Some(format!("call {n}"))))
        .layer(progress)
        .layer(cancel)
        .layer(DedupLayer::new(|_: &u32| Some("all")).join())
        .service(code(|job, n| async move {
            assert_eq!(job.external_id().as_deref(), Some("call 1"));
            job.progress(0.5);
            tokio::time::sleep(secs(1)).await;
            Ok(n)
        }));
    let mut leader = tokio_test::task::spawn(begin(&mut service, 1).await);
    assert!(leader.poll().is_pending());
    let mut followers = Vec::new();
    for n in [2, 3] {
        let mut follower = tokio_test::task::spawn(begin(&mut service, n).await);
        assert!(follower.poll().is_pending());
        followers.push(follower);
    }
    for (id, state) in [
        (1, JobState::Running),
        (2, JobState::Joined),
        (3, JobState::Joined),
    ] {
        let found = board.find_external(&format!("call {id}"));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].state, found[0].report.fraction()),
            (&state, Some(0.5))
        );
    }
    assert_eq!(
        handle.cancel_external("call 2", tower_keep::CancelReason::Requested),
        1
    );
    assert_eq!(
        reason(&followers.remove(0).await.unwrap_err()),
        CancelReason::Requested
    );
    // The leader's caller goes; the execution goes on for the other.
    assert_eq!(
        handle.cancel_external("call 1", tower_keep::CancelReason::Requested),
        1
    );
    leader.await.unwrap_err();
    assert_eq!(followers.remove(0).await.unwrap(), 1);
    assert_eq!(board.find_external("call 3")[0].state, JobState::Succeeded);
}

/// R78 Among many jobs, on several threads, each is found once, while others come and go.
#[test]
fn among_many_jobs() {
    const JOBS: u32 = 3000;
    let (service, board, cancel) = by_tens();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let calls: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let mut service = service.clone();
                scope.spawn(move || {
                    runtime().block_on(async {
                        let mut calls = Vec::new();
                        for n in (0..JOBS).filter(|n| n % 3 == thread) {
                            calls.push(begin(&mut service, n).await);
                        }
                        calls
                    })
                })
            })
            .collect();
        let begun = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        begun.collect()
    });
    assert_eq!(calls.len(), JOBS as usize);
    for id in 0..JOBS / 10 {
        assert_eq!(board.find_external(&id.to_string()).len(), 10);
    }
    assert_eq!(
        cancel.cancel_external("17", tower_keep::CancelReason::Requested),
        10
    );
    assert_eq!(cancel.jobs().len(), JOBS as usize);
    drop(calls);
    assert_eq!(
        cancel.cancel_external("18", tower_keep::CancelReason::Requested),
        0
    );
}
