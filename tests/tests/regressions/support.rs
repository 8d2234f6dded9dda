use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::FutureExt;
use tokio::runtime::Runtime;
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Event, Job, LogLayer, cancel::Cancelled, find,
};
use tower_keep_test::{Recorder, Scripted};

/// A layer that begins the job and records its events.
pub(crate) fn recording() -> (LogLayer, Recorder) {
    let recorder = Recorder::new();
    (LogLayer::to(recorder.clone()), recorder)
}

/// A layer that begins the job and tells nobody.
pub(crate) fn quiet() -> LogLayer {
    LogLayer::to(|_: &Event| {})
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Whether the call panicked.
pub(crate) async fn panics(call: impl Future) -> bool {
    AssertUnwindSafe(call).catch_unwind().await.is_err()
}

/// Why the call was cancelled.
#[track_caller]
pub(crate) fn reason(error: &BoxError) -> CancelReason {
    find::<Cancelled>(&**error)
        .expect("cancelled")
        .reason()
        .clone()
}

pub(crate) type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Whatever the layers make of a service, where a test has it with and without some of them.
pub(crate) type Stack = BoxCloneSyncService<u32, u32, BoxError>;

/// A service whose code is the test's closure; it gets the job.
pub(crate) fn code<F, Fut>(
    code: F,
) -> impl Service<u32, Response = u32, Error = BoxError, Future = Boxed<u32, BoxError>>
+ Clone
+ Send
+ Sync
+ 'static
where
    F: Fn(Job, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, BoxError>> + Send + 'static,
{
    let code = Arc::new(code);
    tower::service_fn(move |request| -> Boxed<u32, BoxError> {
        let code = Arc::clone(&code);
        Box::pin(async move { code(Job::current(), request).await })
    })
}

/// A stack whose innermost layer is Cancel, around it something that goes on for long with what that let through.
pub(crate) fn goes_on() -> Stack {
    let stack = ServiceBuilder::new()
        .and_then(|answer: u32| async move {
            tokio::time::sleep(secs(100)).await;
            Ok::<_, BoxError>(answer)
        })
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().answer(1));
    Stack::new(stack)
}

/// A waker that panics.
pub(crate) fn panicking_waker() -> Waker {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("woken"));
        }
    }
    Waker::from(Arc::new(Panics))
}

/// A runtime of one thread, which runs while the test is in it.
pub(crate) fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

/// A layer to which equal requests are duplicates.
pub(crate) fn by_request() -> DedupLayer<fn(&u32) -> Option<u32>, u32> {
    DedupLayer::new(|request| Some(*request))
}

/// What tower's own retry is told: to call once more, a second after a failure.
#[derive(Clone)]
pub(crate) struct OnceMore(bool);

impl OnceMore {
    pub(crate) fn new() -> Self {
        Self(true)
    }
}

impl tower::retry::Policy<u32, u32, BoxError> for OnceMore {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, BoxError>) -> Option<Self::Future> {
        let again = result.is_err() && std::mem::take(&mut self.0);
        again.then(|| -> Self::Future { Box::pin(tokio::time::sleep(secs(1))) })
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

/// A foreign layer that calls at once and has the response awaited in a task of its own.
#[derive(Clone)]
pub(crate) struct Spawned<S>(pub(crate) S);

impl<S> Service<u32> for Spawned<S>
where
    S: Service<u32, Response: Send, Error: Send, Future: Send + 'static>,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Boxed<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        let task = tokio::spawn(self.0.call(request));
        Box::pin(async move { task.await.unwrap() })
    }
}
