//! The board of jobs: which jobs run, how the last jobs ended, and every change.

use std::{
    collections::{BTreeMap, HashSet},
    future::pending,
};

use futures::{FutureExt, StreamExt};
use tokio::{task::JoinSet, time::Instant};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelReason, FailureCause, Job, JobId, JobLayer, ProgressLayer, RetryLayer,
    StepInfo,
    progress::{JobState, JobView, ProgressHandle},
};
use tower_keep_tests::*;

/// R29: the board shows each running job, and each that ended, with its name, parent, attempt,
/// times, step, progress and outcome.
#[tokio::test(start_paused = true)]
async fn the_board_shows_running_and_ended_jobs() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let began = Instant::now();
    let import = ServiceBuilder::new()
        .layer(JobLayer::new("import"))
        .layer(progress.clone())
        .layer(RetryLayer::new())
        .service(code(|job, _| async move {
            let job = job.steps(4);
            job.step("read", async { Ok::<_, BoxError>(1) }).await?;
            tokio::time::sleep(secs(1)).await;
            job.step("write", async move {
                match Job::current().attempt() {
                    1 => Err::<u32, BoxError>("busy".into()),
                    2 => pending().await,
                    _ => Ok(1),
                }
            })
            .await
        }));
    let outer = ServiceBuilder::new()
        .layer(JobLayer::new("sync"))
        .layer(progress)
        .service(code(move |_, n| import.clone().oneshot(n)));
    let call = tokio::spawn(outer.oneshot(0));
    tokio::time::sleep(ms(1500)).await;

    let snapshot = handle.snapshot();
    assert!(snapshot.history.is_empty());
    let [sync, import] = &snapshot.running[..] else {
        panic!("two jobs run")
    };
    assert_eq!((&*sync.name, sync.parent), ("sync", None));
    assert_eq!((&*import.name, import.parent), ("import", Some(sync.job)));
    assert_eq!(import.state, JobState::Backoff);
    assert_eq!(import.error.as_deref(), Some("busy"));
    assert_eq!(import.step, Some(StepInfo::new("write", 2, Some(4))));
    assert_eq!(import.dispatched_at, began);
    assert_eq!(import.started_at, Some(began));
    assert_eq!(import.changed_at, began + secs(1));
    assert_eq!((import.ended_at, import.attempt), (None, 1));

    tokio::time::sleep(secs(3)).await;
    call.abort();
    call.await.unwrap_err();
    let snapshot = handle.snapshot();
    assert!(snapshot.running.is_empty());
    let [import, sync] = &snapshot.history[..] else {
        panic!("two jobs ended, the child first")
    };
    for ended in [import, sync] {
        assert_eq!(ended.state, JobState::Cancelled(CancelReason::CallerGone));
        assert_eq!(ended.ended_at, Some(began + ms(4500)));
        assert_eq!(ended.changed_at, began + ms(4500));
    }
    assert_eq!(import.attempt, 2);
    assert_eq!(import.step, Some(StepInfo::new("write", 2, Some(4))));
    assert_eq!(import.report.fraction(), Some(0.25));
    assert_eq!(handle.history(), snapshot.history);
}

/// R29: an ending says how: the error's text and kind, and none after success.
#[tokio::test(start_paused = true)]
async fn the_history_says_how_jobs_ended() {
    let progress = ProgressLayer::new().history(2);
    let handle = progress.handle();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(RetryLayer::new().max_retries(1))
        .service(code(|job, fails| async move {
            if job.attempt() <= fails {
                Err("broken".into())
            } else {
                Ok(1)
            }
        }));
    for fails in [0, 1, 2] {
        let _ = begin(&mut service, fails).await.await;
    }
    let outcomes: Vec<_> = handle
        .history()
        .into_iter()
        .map(|view| (view.state, view.error, view.attempt))
        .collect();
    assert_eq!(
        outcomes,
        [
            (JobState::Succeeded, None, 2),
            (
                JobState::Failed(FailureCause::Error),
                Some("broken".into()),
                2
            ),
        ]
    );
}

/// R29: a history of none keeps none, and the bound goes for every clone and handle of the layer.
#[tokio::test(start_paused = true)]
async fn a_history_of_none() {
    let first = ProgressLayer::default().history(0);
    let handle = first.handle();
    let progress = first.clone();
    for layer in [first, progress] {
        let service = ServiceBuilder::new()
            .layer(layer)
            .service(code(|_, n| async move { Ok(n) }));
        service.oneshot(0).await.unwrap();
    }
    assert!(handle.history().is_empty() && handle.jobs().is_empty());
}

/// A service whose jobs report as often as they are asked to, and end in all ways.
pub(super) fn reporting(
    progress: ProgressLayer,
) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send {
    ServiceBuilder::new()
        .layer(progress)
        .service(code(|job, n| async move {
            // Each report differs from the one before it, and from none at all.
            for i in 1..=n {
                job.progress(f64::from(i) / f64::from(n + 1));
                tokio::task::yield_now().await;
            }
            match n % 4 {
                0 => Err("no".into()),
                1 => pending().await,
                _ => Ok(n),
            }
        }))
}

/// Follows the changes to their end, and checks what each must hold.
struct Follower {
    running: BTreeMap<JobId, JobView>,
    ended: HashSet<JobId>,
}

impl Follower {
    fn new(running: Vec<JobView>, ended: &[JobView]) -> Self {
        Self {
            running: running.into_iter().map(|view| (view.job, view)).collect(),
            ended: ended.iter().map(|view| view.job).collect(),
        }
    }

    fn see(&mut self, view: JobView) {
        assert!(!self.ended.contains(&view.job), "it had ended");
        let before = self.running.remove(&view.job);
        if let Some(before) = before {
            assert_ne!(before, view, "told twice");
            assert!(before.report.fraction() <= view.report.fraction());
        }
        if view.state.is_terminal() {
            assert_eq!(view.ended_at, Some(view.changed_at));
            self.ended.insert(view.job);
        } else {
            self.running.insert(view.job, view);
        }
    }
}

/// R29: many jobs on many threads, readers that begin whenever: each sees every ending once,
/// whether in its snapshot or after it, no job that it did not report, and its own end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_misses_an_ending() {
    const JOBS: u32 = 2_000;
    let progress = ProgressLayer::new().history(JOBS as usize);
    let handle = progress.handle();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(reporting(progress));
    let follow = |handle: &ProgressHandle, slow: bool| {
        let (snapshot, mut changes) = handle.changes();
        tokio::spawn(async move {
            let mut follower = Follower::new(snapshot.running, &snapshot.history);
            while let Some(view) = changes.changed().await {
                follower.see(view);
                if slow {
                    tokio::task::yield_now().await;
                }
            }
            follower
        })
    };
    let mut readers = vec![follow(&handle, false)];
    let mut calls = JoinSet::new();
    let mut hung = JoinSet::new();
    for n in 0..JOBS {
        let call = service.clone().oneshot(n % 50);
        if n % 50 % 4 == 1 {
            hung.spawn(call);
        } else {
            calls.spawn(call);
        }
        if n % 100 == 50 {
            readers.push(follow(&handle, n % 200 == 50));
            // This one leaves at once.
            drop(handle.changes());
            hung.abort_all();
            tokio::task::yield_now().await;
        }
    }
    while calls.join_next().await.is_some() {}
    hung.shutdown().await;
    // A task that was aborted before it ran began no job.
    let all: HashSet<_> = recorder.jobs().into_iter().collect();
    assert!(all.len() > JOBS as usize / 2);
    let kept: HashSet<_> = handle.history().iter().map(|view| view.job).collect();
    assert_eq!(kept, all);
    assert!(handle.jobs().is_empty());
    drop((service, handle));
    for reader in readers {
        let follower = reader.await.unwrap();
        assert!(follower.running.is_empty());
        assert_eq!(follower.ended, all);
    }
}

/// R29: a reader is a stream as well, and dropping its waits loses nothing.
#[tokio::test(start_paused = true)]
async fn changes_are_a_stream() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let (_, mut changes) = handle.changes();
    let (_, mut impatient) = handle.changes();
    let service = reporting(progress);
    let impatient = tokio::spawn(async move {
        let mut states = Vec::new();
        loop {
            match impatient.changed().now_or_never() {
                None => tokio::task::yield_now().await,
                Some(Some(view)) => states.push(view.state),
                Some(None) => return states,
            }
        }
    });
    let call = tokio::spawn(service.oneshot(3));
    let first = changes.next().await.unwrap();
    assert_eq!(first.state, JobState::Running);
    call.await.unwrap().unwrap();
    drop(handle);
    let rest: Vec<_> = changes.map(|view| view.state).collect().await;
    assert_eq!(rest.last(), Some(&JobState::Succeeded));
    let states = impatient.await.unwrap();
    assert_eq!(states, [JobState::Running, JobState::Succeeded]);
}

/// A reader for which there is always another change lets other tasks have their turn.
#[tokio::test(start_paused = true)]
async fn a_busy_reader_starves_nobody() {
    let progress = ProgressLayer::new();
    let (_, mut changes) = progress.handle().changes();
    let service = reporting(progress);
    let busy = tokio::spawn(async move {
        let mut read = 0;
        loop {
            let _ = service.clone().oneshot(0).now_or_never();
            changes.changed().await.unwrap();
            read += 1;
            assert!(read < 10_000, "nobody else had a turn");
        }
    });
    tokio::task::yield_now().await;
    assert!(!busy.is_finished());
    busy.abort();
    assert!(busy.await.unwrap_err().is_cancelled());
}

/// R29: a layer without a handle keeps nothing; with a handle it shows late readers all there is:
/// what was reported, in which step, the error, and how jobs ended.
#[tokio::test(start_paused = true)]
async fn a_late_reader_misses_nothing() {
    for taken in [false, true] {
        let progress = ProgressLayer::new();
        let early = taken.then(|| progress.handle());
        let service = ServiceBuilder::new()
            .layer(progress.clone())
            .layer(RetryLayer::new())
            .service(code(|job, n| async move {
                let job = job.steps(2);
                job.step("read", async { Ok::<_, BoxError>(1) }).await?;
                if job.attempt() <= n {
                    return Err("busy".into());
                }
                job.step("write", pending::<Result<_, BoxError>>()).await
            }));
        let ends = service.clone().oneshot(9).await;
        ends.unwrap_err();
        let call = tokio::spawn(service.oneshot(1));
        tokio::time::sleep(secs(2)).await;
        let handle = progress.handle();
        if early.is_none() {
            assert!(handle.jobs().is_empty() && handle.history().is_empty());
            continue;
        }
        let (snapshot, mut changes) = handle.changes();
        let [running] = &snapshot.running[..] else {
            panic!("one job runs")
        };
        assert_eq!(running.step, Some(StepInfo::new("write", 2, Some(2))));
        assert_eq!(
            (running.report.fraction().unwrap(), running.attempt),
            (0.5, 2)
        );
        assert_eq!(running.error.as_deref(), Some("busy"));
        let watch = handle.watch(running.job).unwrap();
        assert_eq!(
            (&watch.latest(), &handle.find(running.job)),
            (running, &Some(running.clone()))
        );
        let [ended] = &snapshot.history[..] else {
            panic!("one job ended")
        };
        assert_eq!((ended.error.as_deref(), ended.attempt), (Some("busy"), 4));
        call.abort();
        call.await.unwrap_err();
        let ended = changes.try_changed().unwrap();
        assert_eq!(ended.state, JobState::Cancelled(CancelReason::CallerGone));
        assert_eq!(watch.latest(), ended);
        assert_eq!(changes.try_changed(), None);
    }
}

/// R26: a subscriber that comes while jobs run hears what happens to them from then on, and of
/// their end; one who unsubscribes costs them nothing more.
#[tokio::test(start_paused = true)]
async fn a_late_subscriber_hears_what_follows() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = reporting(progress);
    let call = tokio::spawn(service.clone().oneshot(6));
    tokio::task::yield_now().await;
    let mut events = handle.subscribe();
    call.await.unwrap().unwrap();
    let mut names = Vec::new();
    while let Some(event) = events.try_recv() {
        names.push(event.unwrap().kind.name());
    }
    assert_eq!(names.last(), Some(&"succeeded"));
    assert!(
        names.len() > 1
            && names[..names.len() - 1]
                .iter()
                .all(|name| *name == "progress")
    );
    drop(events);
    for _ in 0..2 {
        service.clone().oneshot(2).await.unwrap();
    }
    let mut events = handle.subscribe();
    service.oneshot(2).await.unwrap();
    let first = events.recv().await.unwrap().unwrap();
    assert_eq!((first.kind.name(), first.seq), ("dispatched", 0));
}

/// R51: the board shows of a job that joined another what that reports, whenever a reader looks,
/// also where they join in a chain; and readers of changes hear of each.
#[tokio::test(start_paused = true)]
async fn the_view_of_a_follower_reads_its_leaders() {
    for reads in [false, true] {
        let progress = ProgressLayer::new();
        let handle = progress.handle();
        let service = ServiceBuilder::new()
            .layer(progress)
            .layer(tower_keep::DedupLayer::new(|key: &u32| Some(*key)).join())
            .layer(tower_keep::DedupLayer::new(|key: &u32| Some(*key % 10)).join())
            .service(code(|job, n| async move {
                tokio::time::sleep(secs(1)).await;
                job.progress(0.25);
                tokio::time::sleep(secs(1)).await;
                job.step("half", async { Ok::<_, BoxError>(()) }).await?;
                job.progress(0.5);
                tokio::time::sleep(secs(1)).await;
                Ok(n)
            }));
        let mut calls = JoinSet::new();
        for request in [1, 11, 11] {
            calls.spawn(service.clone().oneshot(request));
            tokio::task::yield_now().await;
        }
        let mut changes = reads.then(|| handle.changes().1);
        for fraction in [0.0, 0.25, 0.5] {
            tokio::time::sleep(ms(10)).await;
            let jobs = handle.jobs();
            assert_eq!(jobs.len(), 3);
            for (index, view) in jobs.iter().enumerate() {
                assert_eq!(view.report.fraction(), Some(fraction));
                let joined = view.state == JobState::Joined;
                assert!(joined != (index == 0) && (joined || view.state == JobState::Running));
            }
            if let Some(changes) = &mut changes {
                let told = std::iter::from_fn(|| changes.try_changed());
                let told: HashSet<_> = told.map(|view| view.job).collect();
                assert_eq!(told.len(), if fraction > 0.0 { 3 } else { 0 });
            }
            tokio::time::sleep(ms(990)).await;
        }
        while let Some(call) = calls.join_next().await {
            assert_eq!(call.unwrap().unwrap(), 1);
        }
        assert_eq!(handle.history().len(), 3);
    }
}

/// R29: thousands of readers that wait are all woken.
#[tokio::test(start_paused = true)]
async fn many_readers_are_woken() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = reporting(progress);
    let mut readers = JoinSet::new();
    for _ in 0..5_000 {
        let (_, mut changes) = handle.changes();
        readers.spawn(async move {
            loop {
                let view = changes.changed().await.unwrap();
                if view.state.is_terminal() {
                    return view.state;
                }
            }
        });
    }
    tokio::task::yield_now().await;
    service.oneshot(3).await.unwrap();
    while let Some(read) = readers.join_next().await {
        assert_eq!(read.unwrap(), JobState::Succeeded);
    }
}
