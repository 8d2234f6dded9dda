//! Testing tower layers one at a time, without a server and without waiting.
//!
//! | to | there is |
//! |---|---|
//! | stand in for the service | [`Scripted`], which plays a script of [`Step`]s and [`Readiness`] |
//! | see what the layer did to it | [`Calls`] |
//! | hold it back until the test says so | [`Gate`] |
//! | catch a layer that neglects `poll_ready` | [`Strict`], [`StrictLayer`] |
//! | see a job's events | [`Recorder`] |
//! | poll by hand and count wakes | [`Polled`], [`WakeCounter`] |
//!
//! All time is tokio's. With the clock paused (`#[tokio::test(start_paused = true)]`, tokio's feature `test-util`) an
//! hour takes no time, and elapsed times are exact.
//!
//! # Example
//!
//! A layer that answers with a default when the service fails, and its test. In a test-suite, `main` would be a
//! `#[tokio::test(start_paused = true)]`.
//!
//! ```
//! use std::{
//!     pin::Pin,
//!     task::{Context, Poll},
//! };
//!
//! use tower::{Layer, Service, ServiceExt};
//! use tower_keep_test::{Polled, Scripted, secs};
//!
//! struct OrDefaultLayer;
//!
//! impl<S> Layer<S> for OrDefaultLayer {
//!     type Service = OrDefault<S>;
//!
//!     fn layer(&self, inner: S) -> OrDefault<S> {
//!         OrDefault(inner)
//!     }
//! }
//!
//! struct OrDefault<S>(S);
//!
//! impl<S, Req> Service<Req> for OrDefault<S>
//! where
//!     S: Service<Req, Response: Default, Future: Send + 'static>,
//! {
//!     type Response = S::Response;
//!     type Error = S::Error;
//!     type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
//!         self.0.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, request: Req) -> Self::Future {
//!         let response = self.0.call(request);
//!         Box::pin(async move { Ok(response.await.unwrap_or_default()) })
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() {
//!     let service = Scripted::<&str, u32>::new()
//!         .answer(7)
//!         .error_after(secs(60), "broken")
//!         .recording();
//!     let calls = service.calls();
//!     // `strict` makes sure that the layer asks for readiness.
//!     let mut service = OrDefaultLayer.layer(service.strict());
//!
//!     assert_eq!(service.ready().await.unwrap().call("a").await, Ok(7));
//!
//!     let mut second = Polled::new(service.ready().await.unwrap().call("b"));
//!     second.assert_waiting();
//!     tokio::time::advance(secs(60)).await;
//!     assert_eq!(second.assert_ready(), Ok(0));
//!
//!     assert_eq!(calls.requests(), ["a", "b"]);
//!     calls.assert_finished();
//! }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod calls;
mod duration;
mod gate;
mod readiness;
mod record;
mod recorder;
mod response;
mod scripted;
mod step;
mod stream;
mod strict;
mod sync;
mod wait;
mod waker;

pub use self::{
    calls::Calls,
    duration::{ms, secs},
    gate::Gate,
    readiness::Readiness,
    recorder::Recorder,
    response::ScriptedFuture,
    scripted::Scripted,
    step::Step,
    strict::{Probe, Strict, StrictFuture, StrictLayer},
    waker::{Polled, WakeCounter},
};
