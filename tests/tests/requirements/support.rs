use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tower::{Service, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelReason, DedupLayer, EventKind, GiveUpReason, Job, JobId, LogLayer,
    cancel::Cancelled, dedup::Duplicate, find,
};
use tower_keep_test::Recorder;

/// A layer that begins the job and records its events.
pub(crate) fn recording() -> (LogLayer, Recorder) {
    let recorder = Recorder::new();
    (LogLayer::to(recorder.clone()), recorder)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A ready service's call, so that the future begins where the test says.
pub(crate) async fn begin<S, Request>(service: &mut S, request: Request) -> S::Future
where
    S: Service<Request>,
    S::Error: std::fmt::Debug,
{
    service
        .ready()
        .await
        .expect("the service is ready")
        .call(request)
}

pub(crate) type Work = Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

/// A service whose code is the test's closure; it gets the job.
pub(crate) fn code<F, Fut>(
    code: F,
) -> impl Service<u32, Response = u32, Error = BoxError, Future = Work> + Clone + Send + Sync + 'static
where
    F: Fn(Job, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, BoxError>> + Send + 'static,
{
    let code = Arc::new(code);
    tower::service_fn(move |request| -> Work {
        let code = Arc::clone(&code);
        Box::pin(async move { code(Job::current(), request).await })
    })
}

/// The id of the job that runs this code.
pub(crate) fn current_id() -> JobId {
    Job::current().id().expect("there is a job")
}

/// Why the call was cancelled.
#[track_caller]
pub(crate) fn reason(error: &BoxError) -> CancelReason {
    find::<Cancelled>(&**error)
        .expect("cancelled")
        .reason()
        .clone()
}

/// Whatever the layers make of a service, where a test has several stacks.
pub(crate) type Boxed = BoxCloneSyncService<u32, u32, BoxError>;

/// Requests below 10 have a key in common, those below 20 another, and so on; those from 100 have none.
pub(crate) fn by_tens() -> DedupLayer<fn(&u32) -> Option<u32>, u32> {
    DedupLayer::new(|request| (*request < 100).then_some(*request / 10))
}

/// How the call was replaced by a newer one with its key.
#[track_caller]
pub(crate) fn replaced(error: &BoxError) -> &Duplicate {
    let duplicate = find::<Duplicate>(&**error).expect("a duplicate");
    let cancelled = duplicate.replaced().expect("it was replaced");
    assert_eq!(cancelled.reason(), &CancelReason::Replaced);
    assert_eq!(find::<Cancelled>(&**error), Some(cancelled));
    assert!(!duplicate.execution_panicked());
    duplicate
}

/// Why a retry was given up, each time it was: the attempt and the reason.
pub(crate) fn given_up(recorder: &Recorder) -> Vec<(u32, GiveUpReason)> {
    recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::RetryGivenUp {
                attempt, reason, ..
            } => Some((attempt, reason)),
            _ => None,
        })
        .collect()
}
