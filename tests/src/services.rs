//! Services, calls and runtimes.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Wake, Waker},
};

use futures::FutureExt;
use tokio::runtime::Runtime;
use tower::{Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{BoxError, CancelLayer, Job, JobId, cancel::CancelHandle};
use tower_keep_test::{Scripted, secs};

/// Any stack of layers around a service.
pub type Stack = BoxCloneSyncService<u32, u32, BoxError>;

/// The future of a service, boxed.
pub type Work<T = u32, E = BoxError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// A ready service's call, so that the future begins where the test says.
pub async fn begin<S, Request>(service: &mut S, request: Request) -> S::Future
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

/// A service whose code is the test's closure, which gets the job.
pub fn code<F, Fut>(
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

/// A stack whose innermost layer is Cancel. A layer outside takes 100 seconds over the response.
pub fn goes_on() -> Stack {
    let stack = ServiceBuilder::new()
        .and_then(|answer: u32| async move {
            tokio::time::sleep(secs(100)).await;
            Ok::<_, BoxError>(answer)
        })
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().answer(1));
    Stack::new(stack)
}

/// The id of the job that runs this code.
#[must_use]
pub fn current_id() -> JobId {
    Job::current().id().expect("there is a job")
}

/// Whether the call panicked.
pub async fn panics(call: impl Future) -> bool {
    AssertUnwindSafe(call).catch_unwind().await.is_err()
}

/// A waker that panics.
#[must_use]
pub fn panicking_waker() -> Waker {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("woken"));
        }
    }
    Waker::from(Arc::new(Panics))
}

/// A runtime of one thread, which runs while the test is in it.
#[must_use]
pub fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

/// A guard against a hang, and no measure of speed.
pub async fn in_time<F: Future>(future: F) -> F::Output {
    let output = tokio::time::timeout(secs(60), future).await;
    output.expect("it does not hang")
}

/// The service by its bounds alone, as a spawned future can hold it.
pub fn plain<S>(
    service: S,
) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static
where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    service
}

/// The ids of the running jobs of a Cancel layer, in the order in which the jobs began.
#[must_use]
pub fn running_ids(cancel: &CancelHandle) -> Vec<JobId> {
    cancel.jobs().iter().map(|job| job.job).collect()
}
