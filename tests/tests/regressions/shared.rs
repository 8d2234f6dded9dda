//! What an execution that several callers share tells them, also when something panics in it.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, DedupLayer, Event, EventKind, Job, JobId, LogLayer, TimeoutLayer, dedup::Duplicate,
    find,
};
use tower_keep_test::{Gate, Polled, Recorder, Scripted, Step};

use super::support::*;

fn fractions(recorder: &Recorder, job: JobId) -> Vec<f64> {
    let kinds = recorder.kinds_of(job).into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::Progress(report) => report.fraction(),
            _ => None,
        })
        .collect()
}

/// R26: those that joined see the reports in the work's order, though another part of it gets on while an observer of
/// the first is at work.
#[tokio::test(start_paused = true)]
async fn reports_have_the_works_order() {
    for elsewhere in [false, true] {
        let recorder = Recorder::new();
        let work: Arc<Mutex<Option<Job>>> = Arc::default();
        let known = Arc::clone(&work);
        let busy = move |event: &Event| {
            let work = known.lock().unwrap().clone();
            let Some(work) = work.filter(|work| work.id() == Some(event.job)) else {
                return;
            };
            if matches!(&event.kind, EventKind::Progress(report) if report.fraction() == Some(0.5))
            {
                if elsewhere {
                    std::thread::spawn(move || work.progress(0.75))
                        .join()
                        .unwrap();
                } else {
                    work.progress(0.75);
                }
            }
        };
        let service = ServiceBuilder::new()
            .layer(LogLayer::to(busy))
            .layer(LogLayer::to(recorder.clone()))
            .layer(by_request().join())
            .service(code(move |job, request| {
                *work.lock().unwrap() = Some(job.clone());
                async move {
                    tokio::time::sleep(secs(1)).await;
                    job.progress(0.5);
                    tokio::time::sleep(secs(2)).await;
                    Ok(request)
                }
            }));
        let mut calls = Vec::new();
        for wait in [0, 2, 0] {
            calls.push(tokio::spawn(service.clone().oneshot(1)));
            tokio::task::yield_now().await;
            tokio::time::sleep(secs(wait)).await;
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let seen: Vec<_> = (recorder.jobs().into_iter())
            .map(|job| fractions(&recorder, job))
            .collect();
        assert_eq!(seen, [vec![0.5, 0.75], vec![0.5, 0.75], vec![0.75]]);
    }
}

/// R63: who leaves while a report is told to another one is told nothing of it.
#[tokio::test(start_paused = true)]
async fn who_left_is_told_nothing() {
    type Slot = Arc<Mutex<Option<Boxed<u32, BoxError>>>>;
    let shared = by_request().join().layer(code(|job, request| async move {
        tokio::time::sleep(secs(1)).await;
        job.progress(0.5);
        tokio::time::sleep(secs(1)).await;
        Ok(request)
    }));
    let leaves = Slot::default();
    let slot = Arc::clone(&leaves);
    let told = move |event: &Event| {
        if matches!(event.kind, EventKind::Progress(_)) {
            drop(slot.lock().unwrap().take());
        }
    };
    let (log, recorder) = recording();
    let leader = tokio::spawn(log.layer(shared.clone()).oneshot(1));
    tokio::task::yield_now().await;
    let first = tokio::spawn(LogLayer::to(told).layer(shared.clone()).oneshot(1));
    tokio::task::yield_now().await;
    // Its job goes on, without the call that joined.
    let (slot, mut joins) = (Arc::clone(&leaves), shared);
    let second = log.layer(service_fn(move |request: u32| {
        *slot.lock().unwrap() = Some(Box::pin(joins.call(request)));
        async {
            tokio::time::sleep(secs(60)).await;
            Ok::<u32, BoxError>(0)
        }
    }));
    second.oneshot(1).await.unwrap();
    for call in [leader, first] {
        call.await.unwrap().unwrap();
    }
    assert!(leaves.lock().unwrap().is_none(), "it left");
    let [leader, second] = recorder.jobs()[..] else {
        panic!("two jobs\n{recorder}")
    };
    assert!(recorder.names_of(leader).contains(&"progress"));
    assert!(!recorder.names_of(second).contains(&"progress"));
}

/// R16: a child job that the work began before somebody joined is a sign of life for that one's idle limit too.
#[tokio::test(start_paused = true)]
async fn an_earlier_child_is_a_sign_of_life() {
    let child = quiet().layer(code(|job, request| async move {
        for tenth in 0..10 {
            tokio::time::sleep(secs(1)).await;
            job.progress(f64::from(tenth) / 10.0);
        }
        Ok(request)
    }));
    let shared = by_request()
        .join()
        .layer(code(move |_, request| child.clone().oneshot(request)));
    let first = tokio::spawn(quiet().layer(shared.clone()).oneshot(1));
    tokio::time::sleep(ms(1500)).await;
    let idle = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(secs(3)).idle())
        .service(shared);
    assert_eq!(idle.oneshot(1).await.unwrap(), 1);
    first.await.unwrap().unwrap();
}

/// R6, R52: a caller whose waker panics costs no other its wake.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_costs_no_other_its_wake() {
    let gate = Gate::new();
    let inner = Scripted::<u32, u32, BoxError>::new().step(Step::answer(1).when(&gate));
    let mut service = by_request().join().layer(inner);
    let mut first = Polled::new(service.call(1));
    first.assert_waiting();
    let mut second = Box::pin(service.call(1));
    let waker = panicking_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(second.as_mut().poll(&mut cx).is_pending());
    let mut third = Polled::new(service.call(1));
    third.assert_waiting();
    gate.open();
    let _ = catch_unwind(AssertUnwindSafe(|| first.poll().is_ready()));
    assert!(third.is_woken());
    assert_eq!(third.assert_ready().unwrap(), 1);
}

/// An error that panics when it is to become text.
#[derive(Clone, Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("this error cannot be shown")
    }
}

impl Error for Unspeakable {}

/// An error that panics when it is to become the one that callers share.
#[derive(Clone, Debug)]
struct Unconvertible;

impl fmt::Display for Unconvertible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unconvertible")
    }
}

impl From<Unconvertible> for BoxError {
    fn from(_: Unconvertible) -> Self {
        panic!("this error cannot be converted")
    }
}

/// R54b: a panic in what is the error's own is one of the execution, and reaches each caller as an error.
#[tokio::test(start_paused = true)]
async fn an_error_that_panics_is_an_error_for_each() {
    let shown = service_fn(async |_: u32| {
        tokio::time::sleep(secs(1)).await;
        Err::<u32, _>(Unspeakable)
    });
    let converted = service_fn(async |_: u32| {
        tokio::time::sleep(secs(1)).await;
        Err::<u32, _>(Unconvertible)
    });
    for service in [
        // For the job's end.
        by_request()
            .join()
            .layer(quiet().layer(shown))
            .boxed_clone(),
        by_request().join().layer(converted).boxed_clone(),
    ] {
        let calls = (0..3).map(|_| tokio::spawn(service.clone().oneshot(1)));
        for call in futures::future::join_all(calls).await {
            let error = call.expect("no panic").unwrap_err();
            let duplicate = find::<Duplicate>(&*error).expect("a duplicate");
            assert!(duplicate.execution_panicked());
        }
    }
}

/// R54b: the error says what the panic did, also to a caller that is alone.
#[tokio::test(start_paused = true)]
async fn the_panics_text_is_in_the_error() {
    for callers in 1..=3 {
        let service = by_request().join().layer(
            Scripted::<u32, u32, BoxError>::new().step(Step::panic("the reason").after(secs(1))),
        );
        let calls = (0..callers).map(|_| service.clone().oneshot(1));
        for result in futures::future::join_all(calls).await {
            let error = result.unwrap_err();
            let duplicate = find::<Duplicate>(&*error).expect("a duplicate");
            assert_eq!(duplicate.panic_message(), Some("the reason"));
            assert!(error.to_string().ends_with(": the reason"), "{error}");
        }
    }
}

/// R52: what an execution had borrowed from the service is given back before its key is free.
#[tokio::test(start_paused = true)]
async fn the_service_is_free_before_the_key() {
    struct Borrowed(Box<dyn Fn() + Send>);
    impl Drop for Borrowed {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    for joins in [false, true] {
        let held = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&held);
        let rejects = DedupLayer::new(|key: &u32| Some(*key));
        let joining = by_request().join();
        let (one, other) = (rejects.clone(), joining.clone());
        let inner = service_fn(move |request: u32| {
            let (note, one, other) = (Arc::clone(&note), one.clone(), other.clone());
            let borrowed = Borrowed(Box::new(move || {
                note.store(one.in_flight() + other.in_flight() == 1, Ordering::Relaxed);
            }));
            poll_fn(move |_| {
                let _ = &borrowed;
                Poll::Ready(Ok::<_, BoxError>(request))
            })
        });
        let service = if joins {
            Stack::new(joining.layer(inner))
        } else {
            Stack::new(rejects.layer(inner))
        };
        service.oneshot(1).await.unwrap();
        assert!(held.load(Ordering::Relaxed), "joins: {joins}");
    }
}
