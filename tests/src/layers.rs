//! Layers in the settings that many tests use, and layers of other libraries' kinds.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_keep::{BoxError, DedupLayer, Event, LogLayer};
use tower_keep_test::{Recorder, secs};

use crate::Work;

/// A layer that begins the job and records its events.
#[must_use]
pub fn recording() -> (LogLayer, Recorder) {
    let recorder = Recorder::new();
    (LogLayer::to(recorder.clone()), recorder)
}

/// A layer that begins the job and records nothing.
#[must_use]
pub fn quiet() -> LogLayer {
    LogLayer::to(|_: &Event| {})
}

/// Makes the key of a request of type `u32`.
pub type ByU32 = fn(&u32) -> Option<u32>;

/// Requests below 10 share a key, those from 10 to 19 another, and so on. Requests from 100 have
/// none.
#[must_use]
pub fn by_tens() -> DedupLayer<ByU32, u32> {
    DedupLayer::new(|request| (*request < 100).then_some(*request / 10))
}

/// Equal requests share a key.
#[must_use]
pub fn by_number() -> DedupLayer<ByU32, u32> {
    DedupLayer::new(|request| Some(*request))
}

/// A policy for tower's own retry: one retry, a second after a failure.
#[derive(Clone, Debug)]
pub struct OnceMore(bool);

impl OnceMore {
    /// A policy whose retry is left.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
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

/// A policy for tower's own retry: it retries each failure at once, with the next number as the
/// request.
#[derive(Clone, Debug)]
pub struct CountsOn;

impl tower::retry::Policy<u32, u32, BoxError> for CountsOn {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        request: &mut u32,
        result: &mut Result<u32, BoxError>,
    ) -> Option<Self::Future> {
        *request += 1;
        result.is_err().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

/// A foreign layer that calls at once and awaits the response in a task of its own.
#[derive(Clone, Debug)]
pub struct Spawned<S>(pub S);

impl<S> Service<u32> for Spawned<S>
where
    S: Service<u32, Response: Send, Error: Send, Future: Send + 'static>,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Work<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        let task = tokio::spawn(self.0.call(request));
        Box::pin(async move { task.await.unwrap() })
    }
}

/// A foreign layer that calls a second time, a second after the first. The first success is the
/// response.
#[derive(Clone, Debug)]
pub struct Hedge<S>(pub S);

impl<S> Service<u32> for Hedge<S>
where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    type Response = u32;
    type Error = BoxError;
    type Future = Work;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        let other = self.0.clone();
        let first: Self::Future = Box::pin(self.0.call(request));
        let second: Self::Future = Box::pin(async move {
            sleep(secs(1)).await;
            other.oneshot(request).await
        });
        Box::pin(async move {
            let (answer, _) = futures::future::select_ok([first, second]).await?;
            Ok(answer)
        })
    }
}

/// Awaits `$check(name, layer)` for each layer, alone.
#[macro_export]
macro_rules! check_each_layer {
    ($check:ident) => {{
        use tower_keep::{
            CancelLayer, CircuitBreakerLayer, DedupLayer, Event, LogLayer, ProgressLayer,
            RetryLayer, TimeoutLayer,
        };
        let dedup = || DedupLayer::new(|key: &u32| Some(*key));
        let second = std::time::Duration::from_secs(1);
        $check("progress", ProgressLayer::new()).await;
        $check("cancel", CancelLayer::new()).await;
        $check("detached", CancelLayer::new().detached()).await;
        $check("dedup", dedup()).await;
        $check("latest", dedup().latest()).await;
        $check("circuit", CircuitBreakerLayer::new()).await;
        $check("timeout", TimeoutLayer::new(second)).await;
        $check("idle", TimeoutLayer::new(second).idle()).await;
        $check("retry", RetryLayer::new()).await;
        $check("log", LogLayer::to(|_: &Event| {})).await;
    }};
}
