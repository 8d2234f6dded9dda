//! Without a subscriber, tracing's feature `log` forwards to the `log` crate. The logger is global,
//! so the program has no other tests.

use std::{
    future::poll_fn,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    task::Poll,
};

use log::{LevelFilter, Log, Metadata, Record};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, Job, JobLayer, LogLayer, RetryLayer};

static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tower_keep::log"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}", record.level(), record.args());
            lock(&RECORDS).push(line);
        }
    }

    fn flush(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process has one logger and one level: one test has them at a time.
fn alone(level: LevelFilter) -> MutexGuard<'static, ()> {
    static LOGGER: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = lock(&ALONE);
    LOGGER.call_once(|| log::set_logger(&Logger).unwrap());
    log::set_max_level(level);
    lock(&RECORDS).clear();
    alone
}

/// Level and message of each record.
fn records() -> Vec<String> {
    let records = lock(&RECORDS);
    let short = |line: &String| line.split(" job.id").next().unwrap().trim().to_owned();
    records.iter().map(short).collect()
}

/// R76 The records of a job reach the `log` crate.
#[tokio::test(start_paused = true)]
#[expect(clippy::await_holding_lock, reason = "the runtime is this test's own")]
async fn records_reach_the_log_crate() {
    let _alone = alone(LevelFilter::Trace);
    let service = ServiceBuilder::new()
        .layer(JobLayer::new("import"))
        .layer(LogLayer::new())
        .layer(RetryLayer::new())
        .service(service_fn(|n: u32| async move {
            match Job::current().attempt() {
                1 => Err(BoxError::from("busy")),
                _ => Ok(n),
            }
        }));
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
    assert_eq!(
        records(),
        [
            "INFO dispatched",
            "DEBUG started",
            "DEBUG attempt ended",
            "WARN retry scheduled",
            "DEBUG retrying",
            "DEBUG attempt ended",
            "INFO succeeded"
        ]
    );
    let records = lock(&RECORDS);
    for part in ["job.name=\"import\"", "delay_ms=1000.0", "error=\"busy\""] {
        assert!(records[3].contains(part), "no {part} in {}", records[3]);
    }
}

/// R76 A level that is raised while a job runs lets the records through from then on.
#[tokio::test(start_paused = true)]
#[expect(clippy::await_holding_lock, reason = "the runtime is this test's own")]
async fn a_level_raised_late_lets_records_through() {
    let _alone = alone(LevelFilter::Off);
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .service(service_fn(|n: u32| async move {
            Job::current().progress(0.1);
            let mut polled = false;
            poll_fn(|cx| {
                if polled {
                    return Poll::Ready(());
                }
                polled = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            log::set_max_level(LevelFilter::Info);
            Job::current().progress(0.5);
            Ok::<_, BoxError>(n)
        }));
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
    assert_eq!(records(), ["INFO succeeded"]);
}
