//! Everything can be shown, without its parts having to be.

use std::fmt::Debug;

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Dispatcher, Job, JobId, JobLayer, LogLayer, Pipeline,
    ProgressLayer, RetryLayer, TimeoutLayer, log::Level,
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
        &["ResponseFuture"],
    );
    let kept = dedup
        .clone()
        .join()
        .cache(std::time::Duration::from_secs(7));
    assert_shown(&kept, &["DedupLayer", "7s"]);
    let latest = dedup.clone().latest();
    assert_shown(&latest.layer(inner()).call(1), &["ResponseFuture"]);
    let _call = reject.call(2);
    assert_shown(&dedup.handle(), &["DedupHandle", "len: 1"]);
}

#[tokio::test(start_paused = true)]
async fn cancel() {
    let cancel = CancelLayer::new().group_by(|request: &u32| Some(*request));
    let mut service = cancel.layer(inner());
    let call = service.call(1);
    assert_shown(&cancel, &["CancelLayer", "running: 1"]);
    assert_shown(&cancel.group_handle(), &["GroupHandle"]);
    assert_shown(&service, &["Cancel", "Scripted"]);
    assert_shown(&call, &["ResponseFuture"]);
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
    assert_shown(&jobs.try_reserve().unwrap(), &["Permit"]);
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

/// The settings in force, those of a pipeline's layers too.
#[tokio::test(start_paused = true)]
async fn settings() {
    use std::time::Duration;

    let limit = TimeoutLayer::new(Duration::from_secs(7)).grace(Duration::from_millis(30));
    assert_shown(&limit, &["limit: Some(7s)", "Overall", "grace: Some(30ms)"]);
    assert_shown(&limit.layer(inner()), &["limit: Some(7s)"]);
    assert_shown(&TimeoutLayer::none(), &["limit: None"]);
    let by_request = TimeoutLayer::none()
        .limit_by(|_: &u32| Some(Duration::ZERO))
        .per_attempt();
    assert_shown(&by_request, &["limit: from the request", "Attempt"]);
    assert_shown(&by_request.layer(inner()), &["limit: from the request"]);
    assert_shown(
        &TimeoutLayer::new(Duration::from_secs(9))
            .idle()
            .layer(inner()),
        &["limit: Some(9s)", "Idle"],
    );
    assert_shown(
        &Pipeline::new().build().unwrap(),
        &[
            "limit: Some(60s)",
            "limit: Some(10s)",
            "max_retries: 3",
            "sink: tracing",
            "level: LevelFilter::TRACE",
            "dedup: Identity",
            "history: 100",
            "group: NoGroup",
        ],
    );
    assert_shown(
        &RetryLayer::new().max_retries(5),
        &["max_retries: 5", "base_delay: 1s", "max_delay: 30s"],
    );
    let log = LogLayer::to(|_: &tower_keep::Event| {}).level(Level::WARN);
    assert_shown(&log, &["sink: custom", "WARN", "level_with: false"]);
    assert_shown(&log.level_with(|_| None), &["level_with: true"]);
    assert_shown(
        &CancelLayer::new()
            .replace(|request: &u32| Some(*request))
            .detached()
            .shutdown_on(Default::default(), Duration::from_secs(4)),
        &["replaces: true", "Detached", "shutdown_within: Some(4s)"],
    );
    assert_shown(
        &ProgressLayer::with_buffer(std::num::NonZeroUsize::MIN).history(3),
        &["buffer: 1", "history: 3"],
    );
    assert_shown(&JobLayer::new("import"), &["name: \"import\""]);
    assert_shown(
        &JobLayer::named_by(|_: &u32| "a").layer(inner()),
        &["name: from the request"],
    );
    let jobs = Dispatcher::new(inner())
        .limit(std::num::NonZeroUsize::MIN)
        .named("report")
        .grace(Duration::from_secs(2));
    assert_shown(
        &jobs,
        &[
            "name: \"report\"",
            "limit: Some(1)",
            "grace: Some(2s)",
            "history: 100",
        ],
    );
}
