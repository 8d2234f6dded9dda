//! Corners of single layers.

use std::{
    future::poll_fn,
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};

use futures::executor::block_on;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, EventKind, Job, LogLayer, RetryLayer,
    TimeoutLayer, cancel::CancelHandle, find, log::Level, timeout::Elapsed,
};
use tower_keep_test::{Recorder, Scripted, Step};

use tower_keep_tests::*;

/// Each attempt counts its steps from 1.
#[tokio::test(start_paused = true)]
async fn an_attempts_steps_begin_at_one() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, BoxError>::new().times(2, || {
        Step::run(async |_| {
            let job = Job::current();
            job.step("a", async { Ok::<_, BoxError>(()) }).await?;
            job.step("b", async { Err::<u32, BoxError>("no".into()) })
                .await
        })
    });
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1))
        .service(inner);
    service.oneshot(0).await.unwrap_err();
    let numbers: Vec<u32> = recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::StepStarted { number, .. } => Some(number),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [1, 2, 1, 2]);
}

/// A key whose clone runs a closure.
struct Key(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl Clone for Key {
    fn clone(&self) -> Self {
        if let Some(look) = self.0.get() {
            look();
        }
        Self(Arc::clone(&self.0))
    }
}

impl PartialEq for Key {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A key may use the layer whose key it is while it is cloned: no lock is held then.
#[tokio::test]
async fn a_key_is_cloned_without_a_lock() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, for if it hangs.
    std::thread::spawn(move || {
        let on_clone = Arc::new(OnceLock::new());
        let key = Key(Arc::clone(&on_clone));
        let dedup = DedupLayer::new(move |_: &u32| Some(Key(Arc::clone(&key.0))));
        let looked_at = dedup.clone();
        let look: Box<dyn Fn() + Send + Sync> = Box::new(move || {
            let _ = looked_at.in_flight();
        });
        assert!(on_clone.set(look).is_ok());
        let service = dedup.layer(Scripted::<u32, u32>::new().answer(1));
        let _ = tell.send(block_on(service.oneshot(0)).unwrap());
    });
    let told = tokio::time::timeout(secs(60), told).await;
    assert_eq!(told.expect("no deadlock").unwrap(), 1);
}

/// A client call made while a service's `call` blocks on another stack is a job of its own.
#[tokio::test(start_paused = true)]
async fn a_client_call_awaited_within_a_call_is_a_job() {
    let (log, recorder) = recording();
    let client = log.layer(Scripted::<u32, u32, BoxError>::new().answer(1));
    let inner =
        CancelLayer::new().layer(service_fn(move |request| client.clone().oneshot(request)));
    let blocking = service_fn(move |request: u32| {
        let response = block_on(inner.clone().call(request));
        std::future::ready(response)
    });
    let service = LogLayer::to(recorder.clone()).layer(blocking);
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(recorder.jobs().len(), 2, "{recorder}");
    recorder.assert_one_terminal_each();
}

/// The level of a log that is set last is the one in force, be it lower than one before.
#[tokio::test(start_paused = true)]
async fn the_last_level_is_in_force() {
    let recorder = Recorder::new();
    let service = LogLayer::to(recorder.clone())
        .level(Level::WARN)
        .level(Level::DEBUG)
        .layer(Scripted::<u32, u32>::new().answer(1));
    service.oneshot(0).await.unwrap();
    assert_eq!(recorder.count("succeeded"), 1);
}

/// A limit of zero lets through only what is there at the first poll, on a real clock too.
#[tokio::test]
async fn a_limit_of_zero_expires_at_once() {
    let inner = Scripted::<u32, u32, BoxError>::new()
        .times(100, || {
            Step::run(async |_| {
                tokio::task::yield_now().await;
                Ok(1)
            })
        })
        .answer(2);
    let service = TimeoutLayer::new(Duration::ZERO).layer(inner);
    for _ in 0..100 {
        let error = service.clone().oneshot(0).await.unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
        // So that calls begin anywhere in a tick of the timer.
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    assert_eq!(service.oneshot(0).await.unwrap(), 2);
}

/// A client call has no more time than the job that makes it, and less where its own limit is shorter.
#[tokio::test(start_paused = true)]
async fn a_childs_time_is_bounded_by_its_parents() {
    let tell = || {
        service_fn(|_: u32| {
            let remaining = Job::current().remaining();
            async move { Ok::<_, BoxError>(remaining) }
        })
    };
    let unlimited = quiet().layer(tell());
    let limited = |limit| {
        ServiceBuilder::new()
            .layer(quiet())
            .layer(TimeoutLayer::new(limit))
            .service(tell())
    };
    let (shorter, longer) = (limited(ms(100)), limited(secs(60)));
    let server = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(ms(500)))
        .service(service_fn(move |request: u32| {
            let (unlimited, shorter, longer) = (unlimited.clone(), shorter.clone(), longer.clone());
            async move {
                tokio::time::sleep(ms(200)).await;
                Ok::<_, BoxError>([
                    unlimited.oneshot(request).await?,
                    shorter.oneshot(request).await?,
                    longer.oneshot(request).await?,
                ])
            }
        }));
    assert_eq!(
        server.oneshot(0).await.unwrap(),
        [Some(ms(300)), Some(ms(100)), Some(ms(300))]
    );
}

/// Cancels the jobs that run when it is dropped, and tells how many were.
struct CancelOnDrop(CancelHandle, Arc<OnceLock<usize>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let _ = self.1.set(self.0.cancel_all(CancelReason::Requested));
    }
}

/// Once the call has its response it is too late to cancel, and whoever tries is told so: here what the future of the
/// service held until it was dropped.
#[tokio::test(start_paused = true)]
async fn a_response_on_its_way_out_is_not_cancelled() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let told = Arc::new(OnceLock::new());
    let tell = Arc::clone(&told);
    let inner = service_fn(move |_: u32| {
        let held = CancelOnDrop(handle.clone(), Arc::clone(&tell));
        poll_fn(move |_| {
            let _held = &held;
            Poll::Ready(Ok::<u32, BoxError>(1))
        })
    });
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner);
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(told.get(), Some(&0));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
}
