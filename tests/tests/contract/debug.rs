//! Everything can be shown, without its parts having to be.

use std::fmt::Debug;

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Dispatcher, Job, JobId, JobLayer, LogLayer, ProgressLayer,
};
use tower_keep_test::Scripted;

/// Each value under the name of its type, and more of it than that.
#[track_caller]
fn assert_shown(value: &impl Debug, parts: &[&str]) {
    let shown = format!("{value:?}");
    for part in parts {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
}

fn inner() -> Scripted<u32, u32> {
    Scripted::new().never().repeat_last()
}

#[tokio::test(start_paused = true)]
async fn dedup() {
    fn key(request: &u32) -> Option<u32> {
        Some(*request)
    }
    let dedup = DedupLayer::new(key);
    assert_shown(&dedup, &["DedupLayer", "Reject"]);
    let mut reject = dedup.clone().layer(inner());
    assert_shown(&reject, &["Dedup", "inner", "Scripted"]);
    assert_shown(&reject.call(1), &["ResponseFuture"]);
    assert_shown(
        &dedup.clone().join().layer(inner()).call(1),
        &["JoinFuture"],
    );
    let kept = dedup.clone().join().keep(std::time::Duration::from_secs(7));
    assert_shown(&kept, &["DedupLayer", "7s"]);
    let latest = dedup.clone().latest();
    assert_shown(&latest.layer(inner()).call(1), &["ReplaceFuture"]);
    let _call = reject.call(2);
    assert_shown(&dedup.handle(), &["DedupHandle", "len: 1"]);
}

#[tokio::test(start_paused = true)]
async fn cancel() {
    let cancel = CancelLayer::new().group_by(|request: &u32| Some(*request));
    let mut service = cancel.layer(inner());
    let call = service.call(1);
    assert_shown(&cancel, &["CancelLayer", "running: 1"]);
    assert_shown(&cancel.groups(), &["GroupHandle"]);
    assert_shown(&service, &["Cancel", "Scripted"]);
    assert_shown(&call, &["ResponseFuture"]);
    let shutdown = cancel.handle().shutdown(std::time::Duration::from_secs(1));
    assert_shown(&shutdown, &["ShuttingDown", "refused: 0"]);
}

#[tokio::test(start_paused = true)]
async fn job() {
    assert_shown(&Job::default(), &["Job(unwatched)"]);
    let named = JobLayer::named_by(|request: &u32| format!("report {request}"));
    assert_shown(&named, &["JobLayer"]);
    let log = LogLayer::new();
    let service = named.layer(log.layer(tower::service_fn(|_: u32| async {
        let job = Job::current();
        let id: JobId = job.id().unwrap();
        assert_shown(
            &job,
            &[
                "Job",
                &format!("{id:?}"),
                "report 7",
                "attempt: 1",
                "ended: false",
            ],
        );
        assert_shown(
            &job.step("a", std::future::ready(Ok::<u32, BoxError>(1))),
            &["Step", "\"a\""],
        );
        assert_shown(&job.scope(std::future::ready(1)), &["Scope", "report 7"]);
        Ok::<u32, BoxError>(1)
    })));
    assert_shown(&service, &["JobService"]);
    service.oneshot(7).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dispatch() {
    let jobs = Dispatcher::new(inner()).limit(std::num::NonZeroUsize::MIN);
    assert_shown(&jobs.try_reserve().unwrap(), &["Place"]);
    let handle = jobs.dispatch(1);
    assert_shown(&jobs, &["Dispatcher", "in_flight: 1", "available: Some(0)"]);
    assert_shown(
        &handle,
        &["JobHandle", &format!("{:?}", handle.id()), "Waiting"],
    );
    assert_shown(
        &ProgressLayer::new().handle(),
        &["ProgressHandle", "running: 0"],
    );
}
