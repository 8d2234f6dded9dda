//! Many jobs on several threads, of which each ends once and leaves nothing behind.

use std::{
    future::{Future, pending},
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::task::yield_now;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Event, Job, LogLayer, ProgressLayer,
    RetryLayer,
};

use super::{book::Book, support::*};

/// A guard against a hang, and no measure of speed.
async fn in_time<F: Future>(future: F) -> F::Output {
    let output = tokio::time::timeout(secs(60), future).await;
    output.expect("it does not hang")
}

/// The service by its bounds alone, as a spawned future can hold it.
fn plain<S>(
    service: S,
) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static
where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    service
}

/// Random enough, and the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The execution of each key that began last. One that another one followed is not to be polled any more: it may just be
/// dropped by the last caller that left it.
#[derive(Default)]
struct Executions([AtomicU32; 4]);

/// Callers that join, leave and are cancelled at any moment: one execution of a key at a time, each caller gets the
/// response to its own key, and each job ends once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn joined_callers_come_and_go() {
    const WORKERS: u64 = 8;
    const CALLS: u64 = 300;
    let book = Book::default();
    let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
    let in_flight = dedup.clone();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let executions = Arc::new(Executions::default());
    let (doubled, count) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let inner = {
        let doubled = Arc::clone(&doubled);
        service_fn(move |key: u32| {
            let (executions, doubled) = (Arc::clone(&executions), Arc::clone(&doubled));
            let count = Arc::clone(&count);
            async move {
                let number = count.fetch_add(1, SeqCst);
                let last = &executions.0[key as usize];
                last.store(number, SeqCst);
                let look = || {
                    if last.load(SeqCst) != number {
                        doubled.fetch_add(1, SeqCst);
                    }
                };
                Job::current().progress(0.5);
                for _ in 0..number % 5 {
                    yield_now().await;
                    look();
                }
                if number % 3 == 0 {
                    tokio::time::sleep(Duration::from_micros(300)).await;
                    look();
                }
                if number % 11 == 0 {
                    return Err::<u32, BoxError>("no".into());
                }
                Ok(key)
            }
        })
    };
    let service = {
        let book = book.clone();
        let stack = ServiceBuilder::new()
            .layer(LogLayer::to(move |event: &Event| book.see(event)))
            .layer(progress)
            .layer(cancel)
            .layer(dedup)
            .concurrency_limit(3)
            .service(inner);
        plain(stack)
    };
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (service, handle) = (service.clone(), handle.clone());
            tokio::spawn(async move {
                let mut random = Random(worker * 7919 + 17);
                let mut polled = 0;
                for _ in 0..CALLS {
                    let key = random.below(4) as u32;
                    let service = service.clone();
                    let call = tokio::spawn(async move { service.oneshot(key).await });
                    match random.below(4) {
                        0 => {
                            for _ in 0..random.below(3) {
                                yield_now().await;
                            }
                            call.abort();
                            let _ = call.await;
                            continue;
                        }
                        1 => {
                            let running =
                                handle.jobs().iter().map(|job| job.job).collect::<Vec<_>>();
                            if !running.is_empty() {
                                let chosen = random.below(running.len() as u64);
                                handle.cancel(running[chosen as usize]);
                            }
                        }
                        _ => {}
                    }
                    if let Ok(answer) = in_time(call).await.unwrap() {
                        assert_eq!(answer, key);
                    }
                    polled += 1;
                }
                polled
            })
        })
        .collect();
    let mut polled = 0;
    for worker in workers {
        polled += worker.await.unwrap();
    }
    // Another thread may be telling a job's observers of its end, the board last.
    in_time(async {
        while in_flight.in_flight() + handle.jobs().len() + board.jobs().len() > 0 {
            yield_now().await;
        }
    })
    .await;
    assert_eq!(doubled.load(SeqCst), 0, "one execution of a key at a time");
    book.assert_whole(polled);
}

/// A parent that is cancelled while its child comes into being cancels the child too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_begins_while_its_parent_is_cancelled() {
    for round in 0..1000 {
        // The grace period is long, so that nothing but its own cancellation ends the child.
        let cancel = CancelLayer::new().grace(secs(600));
        let child_cancel = CancelLayer::new();
        let (handle, child_handle) = (cancel.handle(), child_cancel.handle());
        let client = child_cancel.layer(service_fn(|_: u32| pending::<Result<u32, BoxError>>()));
        let service = cancel.layer(service_fn(move |request| {
            let client = client.clone();
            async move {
                let child = tokio::spawn(Job::current().scope(client.oneshot(request)));
                child.await.unwrap()
            }
        }));
        let call = tokio::spawn(service.oneshot(0));
        while handle.jobs().is_empty() {
            yield_now().await;
        }
        for _ in 0..round % 60 {
            spin_loop();
        }
        assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
        in_time(call).await.unwrap().unwrap_err();
        // In a task of its own: a job that was born cancelled may be on its way out.
        in_time(async {
            while !child_handle.jobs().is_empty() {
                yield_now().await;
            }
        })
        .await;
    }
}

/// Calls of one group that replace each other from several threads all end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_replace_each_other() {
    let cancel = CancelLayer::new().replace(|_: &u32| Some(()));
    let handle = cancel.handle();
    let inner = service_fn(async |_: u32| {
        tokio::time::sleep(Duration::from_micros(200)).await;
        Ok::<u32, BoxError>(1)
    });
    let service = plain(cancel.layer(inner));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                for _ in 0..250 {
                    // Answered or replaced.
                    let _ = service.clone().oneshot(0).await;
                }
            })
        })
        .collect();
    in_time(async {
        for worker in workers {
            worker.await.unwrap();
        }
    })
    .await;
    assert!(handle.jobs().is_empty());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
}

/// A cancellation at any moment of a call's beginning wakes whoever waits for it, also the second or third attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancellation_wakes_its_call() {
    for round in 0..2000 {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let retry = RetryLayer::new()
            .base_delay(Duration::from_micros(1))
            .max_retries(round % 4);
        let service = ServiceBuilder::new()
            .layer(retry)
            .layer(cancel)
            .service(service_fn(|_: u32| pending::<Result<u32, BoxError>>()));
        let call = tokio::spawn(service.oneshot(0));
        for _ in 0..round % 40 {
            spin_loop();
        }
        handle.shutdown_now();
        in_time(call).await.unwrap().unwrap_err();
        assert!(handle.jobs().is_empty());
    }
}

/// A job that was cancelled, as the handle says, does not succeed, however close to its end that was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_told_cancelled_gets_no_answer() {
    for round in 0..2000 {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(cancel)
            .service(service_fn(move |_: u32| async move {
                for _ in 0..round % 4 {
                    yield_now().await;
                }
                Ok::<u32, BoxError>(1)
            }));
        let call = tokio::spawn(service.oneshot(0));
        let mut cancelled = false;
        for _ in 0..50 {
            if let Some(job) = handle.jobs().first() {
                cancelled = handle.cancel(job.job);
                break;
            }
            spin_loop();
        }
        let result = in_time(call).await.unwrap();
        assert_eq!(result.is_err(), cancelled, "{recorder}");
        let ending = recorder.terminal(recorder.job()).unwrap().name();
        assert_eq!(ending == "cancelled", cancelled, "{recorder}");
        assert!(handle.jobs().is_empty());
    }
}
