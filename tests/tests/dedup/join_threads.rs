//! Many callers on several threads share executions: each job ends once and leaves nothing behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::task::yield_now;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, DedupLayer, Event, Job, LogLayer, ProgressLayer};
use tower_keep_tests::*;

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

/// The execution of each key that began last. An older execution must not be polled any more: the
/// last caller that left it may just be dropping it.
#[derive(Default)]
struct Executions([AtomicU32; 4]);

/// Callers that join, leave and are cancelled at any moment: one execution of a key at a time, each
/// caller gets the response to its own key, and each job ends once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn joined_callers_come_and_go() {
    const WORKERS: u64 = 8;
    const CALLS: u64 = 300;
    let book = CheckedEvents::default();
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
                            let running = running_ids(&handle);
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
