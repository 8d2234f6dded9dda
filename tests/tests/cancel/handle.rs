//! Which jobs a handle cancels, what its list shows, and the reasons it gives.

use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, EventKind, JobLayer, RetryLayer,
    cancel::{CancelHandle, GroupHandle},
};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

/// A service that never answers, behind this layer and a layer that names the job by its request.
fn named<S>(
    layer: impl tower::Layer<Scripted<&'static str, u32>, Service = S>,
) -> impl Service<&'static str, Response = u32, Error = BoxError, Future: Send + 'static> + Clone
where
    S: Service<&'static str, Response = u32, Error = BoxError, Future: Send + 'static> + Clone,
{
    ServiceBuilder::new()
        .layer(JobLayer::named_by(|name: &&'static str| *name))
        .layer(layer)
        .service(Scripted::new().never().repeat_last())
}

/// R1, R3: the handle lists what runs: which job, for how long, in which attempt, for whom, and why
/// it is cancelled.
#[tokio::test(start_paused = true)]
async fn the_handle_lists_what_runs() {
    let cancel = CancelLayer::new().grace(secs(100));
    let handle = cancel.handle();
    let retry = RetryLayer::new()
        .base_delay(secs(1))
        .jitter(tower_keep::retry::Jitter::None);
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::new("outer"))
        .layer(cancel)
        .layer(retry)
        .service(Scripted::<u32, u32>::new().error("no").never().strict());
    let mut first = Polled::new(begin(&mut service, 0).await);
    first.assert_pending();
    tokio::time::sleep(secs(5)).await;
    first.assert_pending();
    let [running] = &handle.jobs()[..] else {
        panic!("one job runs")
    };
    assert_eq!([running.job], running_ids(&handle)[..]);
    assert_eq!((&*running.name, running.parent), ("outer", None));
    assert_eq!((running.age, running.attempt), (secs(5), 2));
    assert_eq!(running.cancelled, None);
    // It cleans up: it runs, and is cancelled.
    assert!(handle.cancel_because(running.job, "tired"));
    first.assert_pending();
    assert_eq!(handle.jobs()[0].cancelled, Some("tired".into()));
    drop(first);
    assert!(handle.jobs().is_empty());
}

/// R1: a job that another job's code began knows whose child it is.
#[tokio::test(start_paused = true)]
async fn the_list_tells_the_parent() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let client = named(cancel.clone());
    let service = ServiceBuilder::new()
        .layer(cancel)
        .service(code(move |_, _| client.clone().oneshot("child")));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    let [parent, child] = &handle.jobs()[..] else {
        panic!("two jobs run")
    };
    assert_eq!((parent.parent, child.parent), (None, Some(parent.job)));
    assert_eq!(&*child.name, "child");
    handle.cancel(parent.job);
    call.await.unwrap().unwrap_err();
    assert!(handle.jobs().is_empty(), "the child is cancelled with it");
}

/// R3: the user's own text is a reason everywhere: in the error, in the event, and to the code
/// inside.
#[tokio::test(start_paused = true)]
async fn a_text_is_a_reason() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().grace(secs(1));
    let handle = cancel.handle();
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(code(move |job, _| {
            let tell = tell.lock().unwrap().take();
            async move {
                job.cancelled().await;
                let _ = tell.unwrap().send(job.cancel_reason());
                Ok(1)
            }
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.cancel_all(format!("{} out", "signed")), 1);
    let expected = CancelReason::Other("signed out".into());
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), expected);
    assert_eq!(error.to_string(), "job cancelled: signed out");
    assert_eq!(told.await.unwrap(), Some(expected.clone()));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: expected,
            dropped: false
        })
    );
}

/// R3: by predicate, over the fields of the list; only the jobs that are meant, and each is counted
/// once.
#[tokio::test(start_paused = true)]
async fn the_handle_cancels_by_predicate() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = named(cancel);
    let mut calls = Vec::new();
    for name in ["report", "search", "report"] {
        calls.push(tokio::spawn(begin(&mut service, name).await));
        tokio::time::sleep(secs(10)).await;
    }
    assert_eq!(
        handle.cancel_where(tower_keep::CancelReason::Requested, |_| false),
        0
    );
    let older = |job: &tower_keep::cancel::RunningJob| &*job.name == "report" && job.age > secs(15);
    assert_eq!(
        handle.cancel_where(tower_keep::CancelReason::Requested, older),
        1
    );
    assert_eq!(
        handle.cancel_where(tower_keep::CancelReason::Requested, older),
        0,
        "it is cancelled already"
    );
    let last = handle.jobs()[2].job;
    assert_eq!(handle.cancel_where("last", |job| job.job == last), 1);
    let (first, third) = (calls.remove(0), calls.remove(1));
    assert_eq!(
        reason(&first.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
    assert_eq!(reason(&third.await.unwrap().unwrap_err()), "last".into());
    assert_eq!(handle.jobs().len(), 1, "the search runs on");
}

/// R3: the predicate is the user's code: it may use the handle, and begin and end jobs.
#[tokio::test(start_paused = true)]
async fn the_predicate_may_use_the_handle() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = named(cancel);
    let call = begin(&mut service, "first").await;
    let mut other = Some(begin(&mut service, "second").await);
    let cancelled = handle.cancel_where(tower_keep::CancelReason::Requested, |job| {
        drop(other.take());
        assert_eq!(running_ids(&handle), [job.job], "the other one is over");
        assert!(handle.cancel(job.job));
        true
    });
    assert_eq!(cancelled, 0, "the predicate did it itself");
    assert_eq!(reason(&call.await.unwrap_err()), CancelReason::Requested);
}

/// R3: by group, with the key as the layer's closure makes it; several of a group run at the same
/// time.
#[tokio::test(start_paused = true)]
async fn the_handle_cancels_by_group() {
    let cancel = CancelLayer::new().group_by(|name: &&'static str| {
        let (user, _) = name.split_once('/')?;
        Some(user.to_owned())
    });
    let (handle, users) = (cancel.handle(), cancel.group_handle());
    let mut service = named(cancel);
    let mut calls = Vec::new();
    for name in ["ann/1", "bob/1", "ann/2", "nobody", "ann/3"] {
        calls.push(tokio::spawn(begin(&mut service, name).await));
    }
    assert_eq!(handle.jobs().len(), 5, "none replaces another");
    let names = |users: &GroupHandle<String>, user: &str| {
        let names = users.jobs(user).into_iter().map(|job| job.name.to_string());
        names.collect::<Vec<_>>()
    };
    // A job that leaves a group leaves the others in it.
    handle.cancel_where(tower_keep::CancelReason::Requested, |job| {
        &*job.name == "ann/1"
    });
    calls.remove(0).await.unwrap().unwrap_err();
    assert_eq!(names(&users, "ann"), ["ann/2", "ann/3"]);
    assert_eq!(users.cancel("carl"), 0);
    assert_eq!(users.cancel_because("ann", "signed out"), 2);
    assert_eq!(users.cancel("ann"), 0);
    for (call, expected) in [(1, "signed out"), (2, "signed out")] {
        let error = calls.remove(call).await.unwrap().unwrap_err();
        assert_eq!(reason(&error), expected.into());
    }
    assert!(names(&users, "ann").is_empty());
    assert_eq!(handle.jobs().len(), 2, "another group, and none at all");
    assert_eq!(users.cancel("bob"), 1);
}

/// R2: in a group that replaces, the list has the job that cleans up and the job that took its
/// place.
#[tokio::test(start_paused = true)]
async fn a_replaced_job_stays_in_its_group_while_it_cleans_up() {
    let cancel = CancelLayer::new()
        .grace(secs(5))
        .replace(|_: &&'static str| Some(()));
    let groups = cancel.group_handle();
    let mut service = named(cancel);
    let first = tokio::spawn(begin(&mut service, "first").await);
    let second = begin(&mut service, "second").await;
    let seen: Vec<_> = groups
        .jobs(&())
        .into_iter()
        .map(|job| job.cancelled)
        .collect();
    assert_eq!(seen, [Some(CancelReason::Replaced), None]);
    assert_eq!(
        reason(&first.await.unwrap().unwrap_err()),
        CancelReason::Replaced
    );
    assert_eq!(groups.jobs(&()).len(), 1);
    drop(second);
    assert!(groups.jobs(&()).is_empty());
}

/// R2, R3: a job that passes the layer again, as under a retry around it, does not replace itself,
/// and can be cancelled in every attempt.
#[tokio::test(start_paused = true)]
async fn a_retried_job_keeps_its_group() {
    let cancel = CancelLayer::new().replace(|_: &u32| Some("all"));
    let groups = cancel.group_handle();
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::new("retried"))
        .layer(RetryLayer::new().base_delay(ms(1)))
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().error("no").never().strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(groups.jobs("all")[0].attempt, 2);
    assert_eq!(groups.cancel("all"), 1);
    assert_eq!(
        reason(&call.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
}

/// R1, R3: a job that is in the layer twice at a time, as with a hedge around it, is one job, which
/// runs until its last call is over.
#[tokio::test(start_paused = true)]
async fn a_job_with_two_calls_runs_until_the_last_is_over() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = ServiceBuilder::new()
        .layer(cancel)
        .service(code(|_, after| async move {
            tokio::time::sleep(secs(after.into())).await;
            Ok(after)
        }));
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::new("hedged"))
        .service(tower::service_fn(move |_: u32| {
            let calls = [1, 2].map(|after| inner.clone().call(after));
            async move {
                let [first, last] = calls;
                let (first, last) = tokio::join!(first, last);
                first.and(last)
            }
        }));
    let mut call = Polled::new(begin(&mut service, 0).await);
    for _ in 0..2 {
        call.assert_pending();
        assert_eq!(handle.jobs().len(), 1);
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(call.assert_ready().unwrap(), 2);
    assert!(handle.jobs().is_empty());
}

/// R1, R3: as it is where its task went on in another thread between two calls.
#[test]
fn a_job_with_calls_of_two_threads_is_one_job() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = ServiceBuilder::new()
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().never().repeat_last());
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::new("hedged"))
        .service(tower::service_fn(move |request: u32| {
            let (first, mut inner) = (inner.clone().call(request), inner.clone());
            let second = async move {
                tokio::task::yield_now().await;
                inner.call(request).await
            };
            async move {
                let (first, second) = tokio::join!(first, second);
                first.and(second)
            }
        }));
    let mut call = Polled::new(service.call(1));
    for _ in 0..2 {
        std::thread::scope(|scope| {
            scope.spawn(|| call.assert_pending());
        });
        assert_eq!(handle.jobs().len(), 1);
    }
    assert_eq!(handle.cancel_all("enough"), 1);
    drop(call);
    assert!(handle.jobs().is_empty());
}

/// Cancels the jobs that run when it is dropped, and notes how many there were.
struct CancelOnDrop(CancelHandle, Arc<OnceLock<usize>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let _ = self.1.set(self.0.cancel_all(CancelReason::Requested));
    }
}

/// Once the call has its response it is too late to cancel, and the handle says so: here to what
/// the future of the service held until it was dropped.
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
