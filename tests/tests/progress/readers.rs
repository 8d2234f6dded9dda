//! Readers of the board: what they read, and that they are woken.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures::FutureExt;
use tokio::sync::Notify;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, DedupLayer, Dispatcher, EventKind, Job, JobId, JobLayer, ProgressLayer,
    progress::{Changes, JobState},
};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

/// Counts its wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads everything, and waits then.
fn wait(changes: &mut Changes, woken: &Arc<Woken>) {
    let waker = Waker::from(Arc::clone(woken));
    let cx = &mut Context::from_waker(&waker);
    while pin!(changes.changed()).poll(cx).is_ready() {}
}

fn fractions(changes: &mut Changes) -> Vec<f64> {
    let views = std::iter::from_fn(|| changes.try_changed());
    views.map(|view| view.report.fraction().unwrap()).collect()
}

/// R29: a job that two boards show is read on both, in any order, from its beginning on.
#[tokio::test(start_paused = true)]
async fn each_board_has_its_readers() {
    let boards = [
        ProgressLayer::new(),
        ProgressLayer::new(),
        ProgressLayer::new(),
    ];
    let mut readers = boards.each_ref().map(|board| board.handle().changes().1);
    let [first, second, third] = boards;
    let go = Arc::new(Notify::new());
    let going = Arc::clone(&go);
    let service = ServiceBuilder::new()
        .layer(first)
        .layer(second)
        .layer(third)
        .service(service_fn(move |()| {
            let going = Arc::clone(&going);
            async move {
                for fraction in [0.25, 0.5] {
                    going.notified().await;
                    Job::current().progress(fraction);
                }
                going.notified().await;
                Ok::<_, BoxError>(())
            }
        }));
    let call = tokio::spawn(service.oneshot(()));
    for fraction in [0.0, 0.25, 0.5, 1.0] {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for reader in &mut readers {
            assert_eq!(fractions(reader), [fraction]);
        }
        readers.reverse();
        go.notify_one();
    }
    call.await.unwrap().unwrap();
}

/// R29: many readers are woken although the runtime of the job rests once that is over.
#[test]
fn readers_do_not_depend_on_the_runtime_of_the_job() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let mut readers: Vec<_> = (0..20).map(|_| handle.changes().1).collect();
    let woken = Arc::new(Woken::default());
    for reader in &mut readers {
        wait(reader, &woken);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(progress)
        .service(service_fn(|()| async { Ok::<_, BoxError>(()) }));
    runtime.block_on(service.oneshot(())).unwrap();
    assert_eq!(woken.count(), 20);
}

/// R29: a reader that waits is woken for each job that begins, although others begin to read at
/// that moment.
#[test]
fn a_reader_that_begins_takes_nobodys_wake() {
    let progress = ProgressLayer::new().history(0);
    let handle = progress.handle();
    let (_, mut changes) = handle.changes();
    let stopped = AtomicBool::new(false);
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .service(service_fn(|()| pending::<Result<(), BoxError>>()));
    let missed = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    drop(handle.changes());
                }
            });
        }
        let missed = (0..20_000).any(|_| {
            let woken = Arc::new(Woken::default());
            wait(&mut changes, &woken);
            let job = service.call(());
            let missed = woken.count() == 0;
            drop(job);
            missed
        });
        stopped.store(true, Ordering::Relaxed);
        missed
    });
    assert!(!missed);
}

/// R29, R63: what a reader's waker calls has a job of its own, also where it is woken in the middle
/// of another call.
#[test]
fn a_waker_that_calls_is_no_part_of_the_job() {
    struct Calls(
        Box<dyn Fn() -> Option<JobId> + Send + Sync>,
        Mutex<Vec<Option<JobId>>>,
    );
    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            let made = (self.0)();
            self.1.lock().unwrap().push(made);
        }
    }
    let whose = |()| async { Ok::<_, BoxError>(Job::current().id()) };
    for named in [false, true] {
        let progress = ProgressLayer::new();
        let handle = progress.handle();
        let call = move || {
            let service = ServiceBuilder::new().layer(JobLayer::new("other"));
            let call = service.service(service_fn(whose)).oneshot(());
            call.now_or_never().unwrap().unwrap()
        };
        let calls = Arc::new(Calls(Box::new(call), Mutex::default()));
        let waker = Waker::from(Arc::clone(&calls));
        let (_, mut changes) = handle.changes();
        let waits = pin!(changes.changed()).poll(&mut Context::from_waker(&waker));
        assert!(waits.is_pending());
        let service = ServiceBuilder::new()
            .option_layer(named.then(|| JobLayer::new("named")))
            .layer(progress)
            .service(service_fn(whose));
        let own = service.oneshot(()).now_or_never().unwrap().unwrap();
        assert_eq!(handle.history()[0].job, own.unwrap());
        let made = calls.1.lock().unwrap().clone();
        assert!(matches!(made[..], [Some(made)] if Some(made) != own));
    }
}

/// Two of three calls join the first, one of them by joining the other. The first reports twice,
/// and fails.
pub(super) async fn a_chain_that_fails(progress: ProgressLayer, meanwhile: impl Future) {
    let handle = progress.handle();
    let service = ServiceBuilder::new()
        .layer(progress)
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .layer(DedupLayer::new(|key: &u32| Some(*key % 10)).join())
        .service(service_fn(|_: u32| async {
            for fraction in [0.25, 0.5] {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Job::current().progress(fraction);
            }
            Err::<(), BoxError>("broken".into())
        }));
    let mut calls = tokio::task::JoinSet::new();
    for request in [1, 11, 11] {
        calls.spawn(service.clone().oneshot(request));
        tokio::task::yield_now().await;
    }
    meanwhile.await;
    calls.join_all().await;
    let history = handle.history();
    let fractions: Vec<_> = history
        .iter()
        .map(|view| view.report.fraction().unwrap())
        .collect();
    assert_eq!(fractions, [0.5; 3]);
}

/// R29, R51: the last report before an execution failed is shown of all that joined it, though
/// nobody looked before.
#[tokio::test(start_paused = true)]
async fn the_last_report_is_shown_of_all_that_joined() {
    a_chain_that_fails(ProgressLayer::new(), async {}).await;
}

/// R6, R29: a reader of the board whose waker panics costs no other reader a wake or an event, and
/// does not harm the job.
#[tokio::test(start_paused = true)]
async fn a_readers_waker_that_panics_harms_no_other() {
    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().answer(1));
    let board = jobs.progress_handle();
    let ((_, mut bad), (_, mut good)) = (board.changes(), board.changes());
    let mut events = board.subscribe();
    let waker = panicking_waker();
    let mut cx = Context::from_waker(&waker);
    let mut bad = Box::pin(bad.changed());
    assert!(bad.as_mut().poll(&mut cx).is_pending());
    let mut good = Polled::new(Box::pin(good.changed()));
    good.assert_waiting();
    let handle = jobs.dispatch(1);
    good.assert_woken();
    assert!(good.assert_ready().is_some());
    let event = events.try_recv().expect("an event").unwrap();
    assert_eq!(event.kind, EventKind::Dispatched);
    assert_eq!(handle.await.unwrap(), 1);
}

/// R29: a job is found by its id while it runs and once it has ended, as long as the history has
/// it.
#[tokio::test(start_paused = true)]
async fn a_job_is_found_by_its_id() {
    let progress = ProgressLayer::new().history(1);
    let board = progress.handle();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new().layer(log).layer(progress).service(
        Scripted::<u32, u32>::new()
            .answer_after(secs(1), 1)
            .repeat_last(),
    );
    let state = |job| board.find(job).map(|view| view.state);
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    let job = recorder.job();
    assert_eq!(state(job), Some(JobState::Running));
    first.await.unwrap().unwrap();
    assert_eq!(state(job), Some(JobState::Succeeded));
    service.oneshot(1).await.unwrap();
    assert_eq!(state(job), None, "another one took its place");
    let last = recorder.jobs()[1];
    assert_eq!(state(last), Some(JobState::Succeeded));
}
