//! Jobs that work for a job which has ended: who cancels them then.

use std::{
    future::{Future, pending},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Wake, Waker},
};

use tokio::sync::oneshot;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, EventKind, Job, JobLayer, TimeoutLayer,
    cancel::CancelHandle,
};
use tower_keep_test::{Polled, Recorder, Scripted};
use tower_keep_tests::*;

/// A stack that cancels, logs, and runs this code.
fn stack<F, Fut>(name: &'static str, recorder: &Recorder, run: F) -> (Stack, CancelHandle)
where
    F: Fn(Job, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, BoxError>> + Send + 'static,
{
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new(name))
        .layer(tower_keep::LogLayer::to(recorder.clone()))
        .layer(cancel)
        .service(code(run));
    (Stack::new(stack), handle)
}

/// Why each job of a recorder was cancelled, if it was.
fn reasons(recorder: &Recorder) -> Vec<Option<CancelReason>> {
    let ends = recorder.kinds().into_iter().filter(EventKind::is_terminal);
    ends.map(|end| match end {
        EventKind::Cancelled { reason, .. } => Some(reason),
        _ => None,
    })
    .collect()
}

/// A job of generation `n` spawns one of generation `n - 1` and ends; the last, of generation 0,
/// never ends. `late` makes each wait until its parent has ended before it calls.
fn generations(late: bool) -> (Stack, CancelHandle, Recorder) {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let recorder = Recorder::new();
    let (stack, handle) = stack("generation", &recorder, move |job, generation| {
        let below = Arc::clone(&below);
        async move {
            if generation == 0 {
                return pending().await;
            }
            let (began, begins) = oneshot::channel::<()>();
            tokio::spawn(job.scope(async move {
                let stack = below.get().unwrap().clone();
                if late {
                    drop(began);
                    tokio::time::sleep(ms(1)).await;
                    stack.oneshot(generation - 1).await
                } else {
                    let mut call = Box::pin(stack.oneshot(generation - 1));
                    assert!(futures::poll!(&mut call).is_pending());
                    drop(began);
                    call.await
                }
            }));
            let _ = begins.await;
            Ok(generation)
        }
    });
    (own.get_or_init(|| stack).clone(), handle, recorder)
}

/// R11: a job that still runs when its own parent has ended is cancelled with the job around that,
/// however many generations have ended in between, and whether it began before or after its
/// parent's end.
#[tokio::test(start_paused = true)]
async fn a_cancellation_reaches_past_jobs_that_ended() {
    for late in [false, true] {
        for between in [0, 1, 2, 7] {
            let (below, children, recorder) = generations(late);
            let (top, handle) = stack("top", &Recorder::new(), move |_, generation| {
                let below = below.clone();
                async move {
                    below.oneshot(generation).await?;
                    pending().await
                }
            });
            let call = tokio::spawn(top.oneshot(between));
            tokio::time::sleep(secs(1)).await;
            assert_eq!(children.jobs().len(), 1, "the last generation runs");
            assert!(handle.cancel(handle.jobs()[0].job));
            call.await.unwrap().unwrap_err();
            tokio::time::sleep(secs(1)).await;
            assert!(children.jobs().is_empty(), "{late} {between}");
            let mut expected = vec![None; between as usize];
            expected.push(Some(CancelReason::Requested));
            assert_eq!(reasons(&recorder), expected, "{late} {between}");
        }
    }
}

/// R5, R11: the outermost caller's leaving reaches past ended jobs too, with its reason; and where
/// the outermost job ends well, the others go on for themselves.
#[tokio::test(start_paused = true)]
async fn what_is_left_over_goes_with_the_outermost_caller() {
    for late in [false, true] {
        for leaves in [false, true] {
            let (below, children, recorder) = generations(late);
            let (top, _) = stack("top", &Recorder::new(), move |_, generation| {
                let below = below.clone();
                async move {
                    below.oneshot(generation).await?;
                    tokio::time::sleep(secs(10)).await;
                    Ok(0)
                }
            });
            let call = tokio::spawn(top.oneshot(3));
            tokio::time::sleep(secs(1)).await;
            if leaves {
                call.abort();
                tokio::time::sleep(secs(1)).await;
                let last = reasons(&recorder).pop().unwrap();
                assert_eq!(last, Some(CancelReason::CallerGone));
                assert!(children.jobs().is_empty());
            } else {
                call.await.unwrap().unwrap();
                tokio::time::sleep(secs(10)).await;
                assert_eq!(children.jobs().len(), 1);
                assert_eq!(reasons(&recorder), [None, None, None]);
                // It is reached by its own handle, and by nothing else.
                assert_eq!(children.cancel_all(CancelReason::Requested), 1);
            }
        }
    }
}

/// R11: a job that began within the attempt that a limit stops with a grace period is cancelled,
/// also past a parent that has ended. A job that began outside that attempt is not.
#[tokio::test(start_paused = true)]
async fn a_limit_reaches_past_jobs_that_ended() {
    let (below, children, recorder) = generations(false);
    let (top, _) = stack("top", &Recorder::new(), {
        let below = below.clone();
        move |_, _| {
            let below = below.clone();
            async move {
                let limited = TimeoutLayer::new(secs(5)).per_attempt().grace(secs(1));
                let within = ServiceBuilder::new()
                    .layer(limited)
                    .service(code(move |job, _| {
                        let below = below.clone();
                        async move {
                            below.oneshot(2).await?;
                            job.cancelled().await;
                            Ok(0)
                        }
                    }));
                within.oneshot(0).await.unwrap_err();
                pending().await
            }
        }
    });
    let outside = below;
    let (around, handle) = stack("around", &Recorder::new(), move |_, _| {
        let (outside, top) = (outside.clone(), top.clone());
        async move {
            outside.oneshot(1).await?;
            top.oneshot(0).await
        }
    });
    let call = tokio::spawn(around.oneshot(0));
    tokio::time::sleep(secs(4)).await;
    assert_eq!(children.jobs().len(), 2);
    tokio::time::sleep(secs(3)).await;
    assert_eq!(children.jobs().len(), 1, "the job within is cancelled");
    assert!(reasons(&recorder).contains(&Some(CancelReason::TimedOut)));
    handle.cancel_all(CancelReason::Requested);
    call.await.unwrap().unwrap_err();
    assert!(children.jobs().is_empty());
}

/// R5, R11: a detached job goes on when the job that began it loses its caller, and is cancelled
/// with the job around.
#[tokio::test(start_paused = true)]
async fn a_detached_job_is_reached_past_a_caller_that_left() {
    for how in ["ends", "is dropped", "is dropped with its parent"] {
        let recorder = Recorder::new();
        let cancel = CancelLayer::new().detached();
        let detached = cancel.handle();
        let far = ServiceBuilder::new()
            .layer(tower_keep::LogLayer::to(recorder.clone()))
            .layer(cancel)
            .service(Scripted::<u32, u32>::new().never());
        let far = Stack::new(far);
        let (middle, _) = stack("middle", &Recorder::new(), move |job, request| {
            let far = far.clone();
            async move {
                let mut call = Polled::new(far.oneshot(0));
                call.assert_pending();
                if request == 0 {
                    tokio::spawn(job.scope(async move { drop(call) }));
                    return Ok(0);
                }
                pending().await
            }
        });
        let (upper, _) = stack("upper", &Recorder::new(), {
            let middle = middle.clone();
            move |_, request| middle.clone().oneshot(request)
        });
        let (top, handle) = stack("top", &Recorder::new(), move |_, _| {
            let (middle, upper) = (middle.clone(), upper.clone());
            async move {
                match how {
                    "ends" => drop(middle.oneshot(0).await?),
                    "is dropped" => Polled::new(middle.oneshot(1)).assert_pending(),
                    _ => Polled::new(upper.oneshot(1)).assert_pending(),
                }
                pending().await
            }
        });
        let call = tokio::spawn(top.oneshot(0));
        tokio::time::sleep(secs(1)).await;
        assert_eq!(detached.jobs().len(), 1, "{how}: it goes on");
        handle.cancel(handle.jobs()[0].job);
        call.await.unwrap().unwrap_err();
        tokio::time::sleep(secs(1)).await;
        assert!(detached.jobs().is_empty(), "{how}");
        assert_eq!(reasons(&recorder), [Some(CancelReason::Requested)], "{how}");
    }
}

/// R54b: what the code of a joined execution left running is cancelled when the last caller leaves,
/// also past a job that has ended, and not before.
#[tokio::test(start_paused = true)]
async fn what_a_joined_execution_left_running_is_cancelled_at_its_end() {
    let (below, children, recorder) = generations(false);
    let shared = ServiceBuilder::new()
        .layer(JobLayer::new("caller"))
        .layer(CancelLayer::new())
        .layer(DedupLayer::new(|_: &u32| Some(0)).join())
        .service(code(move |_, _| {
            let below = below.clone();
            async move {
                below.oneshot(2).await?;
                pending().await
            }
        }));
    let shared = Stack::new(shared);
    let first = tokio::spawn(shared.clone().oneshot(0));
    tokio::time::sleep(secs(1)).await;
    let second = tokio::spawn(shared.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    first.abort();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(children.jobs().len(), 1);
    second.abort();
    tokio::time::sleep(secs(1)).await;
    assert!(children.jobs().is_empty());
    assert_eq!(
        reasons(&recorder).last(),
        Some(&Some(CancelReason::CallerGone))
    );
}

/// R11: of a job that begins the next and ends, 20 000 times over, no more memory is held than of a
/// few.
#[test]
fn generations_leave_nothing_behind() {
    const GENERATIONS: u32 = 20_000;
    for late in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let began = Arc::new(AtomicU32::new(0));
        let own: Arc<OnceLock<Stack>> = Arc::default();
        let (below, counted) = (Arc::clone(&own), Arc::clone(&began));
        let next = ServiceBuilder::new()
            .layer(CancelLayer::new())
            .service(code(move |job, generation| {
                let below = below.get().unwrap().clone();
                counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    if generation == 0 {
                        return pending().await;
                    }
                    tokio::spawn(job.scope(async move {
                        if late {
                            tokio::time::sleep(ms(1)).await;
                        }
                        below.oneshot(generation - 1).await
                    }));
                    Ok(0)
                }
            }));
        let next = own.get_or_init(|| Stack::new(next)).clone();
        let (top, handle) = stack("top", &Recorder::new(), move |_, generation| {
            let next = next.clone();
            async move {
                next.oneshot(generation).await?;
                pending().await
            }
        });
        let run = |generations| {
            runtime.block_on(async {
                began.store(0, Ordering::Relaxed);
                let call = tokio::spawn(top.clone().oneshot(generations));
                tokio::time::sleep(secs(100)).await;
                assert_eq!(began.load(Ordering::Relaxed), generations + 1);
                assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
                call.await.unwrap().unwrap_err();
                tokio::time::sleep(secs(1)).await;
            });
        };
        run(10);
        let measured = allocation_counter::measure(|| run(GENERATIONS));
        assert!(measured.bytes_max < 100_000, "{measured:?}");
        assert!(measured.bytes_current.abs() < 10_000, "{measured:?}");
    }
}

/// R11: jobs within jobs, 20 000 deep, that end from the innermost on: the last handle to the
/// innermost one can be dropped, and it was reached from the outermost until then.
#[test]
fn a_deep_chain_that_ended_is_dropped() {
    const DEPTH: u32 = 20_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let own: Arc<OnceLock<Stack>> = Arc::default();
        let below = Arc::clone(&own);
        let innermost: Arc<Mutex<Option<Job>>> = Arc::default();
        let found = Arc::clone(&innermost);
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let stack = ServiceBuilder::new()
            .layer(cancel)
            .service(code(move |job, depth| {
                let below = below.get().unwrap().clone();
                let found = Arc::clone(&found);
                async move {
                    if depth == 0 {
                        *found.lock().unwrap() = Some(job);
                        return Ok(0);
                    }
                    // In a task of its own, so that polls are not as deep as the chain.
                    tokio::spawn(job.scope(below.oneshot(depth - 1))).await?
                }
            }));
        let stack = own.get_or_init(|| Stack::new(stack)).clone();
        stack.oneshot(DEPTH).await.unwrap();
        assert!(handle.jobs().is_empty());
        let job = innermost.lock().unwrap().take().unwrap();
        assert!(job.id().is_some());
        drop(job);
    });
}

/// R11: a chain of jobs each of which began the next one can be cancelled, however long it is.
#[tokio::test(start_paused = true)]
async fn a_long_chain_of_jobs_is_cancelled() {
    const LENGTH: u32 = 10_000;
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("link"))
        .layer(cancel)
        .service(code(move |job, more| {
            if more > 0 {
                let below = below.get().unwrap().clone();
                tokio::spawn(job.scope(below.oneshot(more - 1)));
            }
            std::future::pending()
        }));
    let stack = own.get_or_init(|| Stack::new(stack)).clone();
    let call = tokio::spawn(stack.oneshot(LENGTH - 1));
    tokio::time::sleep(secs(1)).await;
    let running = running_ids(&handle);
    assert_eq!(running.len(), LENGTH as usize);
    assert!(handle.cancel(running[0]));
    call.await.unwrap().unwrap_err();
    tokio::time::sleep(secs(1)).await;
    assert!(handle.jobs().is_empty());
}

/// R11: a child that is cancelled with its parent was not cancelled before, and is counted.
#[tokio::test(start_paused = true)]
async fn children_are_counted() {
    for shut_down in [false, true] {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let never = Scripted::<u32, u32, BoxError>::new().never();
        let client = cancel.clone().layer(never);
        let server = cancel.layer(code(move |_, request| client.clone().oneshot(request)));
        let call = tokio::spawn(server.oneshot(0));
        tokio::time::sleep(secs(1)).await;
        let count = if shut_down {
            handle.shutdown_now()
        } else {
            handle.cancel_all(CancelReason::Requested)
        };
        assert_eq!(count, 2);
        call.await.unwrap().unwrap_err();
    }
}

/// Wakes by asking a job why it is cancelled, as an executor may that drops a task when it wakes
/// it.
struct Asks(Job);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        let _ = self.0.cancel_reason();
    }
}

/// No lock of a job is held while a waker runs: here that of a child, which is cancelled with its
/// parent.
#[test]
fn a_cancelled_child_is_woken_without_its_lock() {
    let (give, job) = std::sync::mpsc::channel();
    let client = quiet().layer(code(move |job, _| {
        give.send(job).unwrap();
        std::future::pending()
    }));
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut server = cancel.layer(service_fn(move |request| client.clone().oneshot(request)));
    let mut call = Polled::new(server.call(0));
    call.assert_waiting();
    let job = job.recv().unwrap();
    let mut cancelled = Box::pin({
        let job = job.clone();
        async move { job.cancelled().await }
    });
    let waker = Waker::from(Arc::new(Asks(job)));
    assert!(
        cancelled
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (done, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        handle.cancel_all(CancelReason::Requested);
        done.send(()).unwrap();
    });
    let over = over.recv_timeout(secs(5));
    if over.is_err() {
        // What is dropped would wait for the lock as well.
        std::mem::forget((call, cancelled));
    }
    assert!(over.is_ok(), "it waits for the lock that it holds");
}
