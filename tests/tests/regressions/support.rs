use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use tower::Service;
use tower_keep::{Event, LogLayer};
use tower_keep_test::Recorder;

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

pub(crate) type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

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
