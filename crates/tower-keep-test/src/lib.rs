//! Test tools for tower layers: scripted services, event recorders, fault injection, and an HTTP
//! origin that misbehaves. No waiting.
//!
//! | task | tool |
//! |---|---|
//! | replace the service | [`Scripted`], which plays a script of [`Step`]s and [`Readiness`] |
//! | see what the layer did to the service | [`Calls`] |
//! | hold the service back until the test opens it | [`Gate`] |
//! | catch a layer that neglects `poll_ready` | [`Strict`], [`StrictLayer`] |
//! | inject faults by a seed or a script | [`FaultLayer`], its [`Fault`]s, and their record [`Faults`] |
//! | see the events of jobs | [`Recorder`] |
//! | poll by hand and count wakes | [`Polled`], [`WakeCounter`] |
//! | test an HTTP client against an origin that misbehaves | `http::Origin`, with the feature `http` |
//!
//! # I wrote a layer: how do I test it?
//!
//! 1. Behaviour: put the layer around a [`Scripted`] service, with one [`Step`] per call. Check the
//!    results and [`Calls`]. Use [`strict`](Scripted::strict), so that a call without readiness
//!    panics. Test each promise of the documentation with its own script: an answer, an error, a
//!    slow answer, a call that never ends.
//! 2. Waiting: hold the service back with a [`Gate`] or a delay, and poll with [`Polled`].
//!    [`assert_waiting`](Polled::assert_waiting) catches a layer that wakes itself endlessly.
//! 3. Cleanup: drop the future after each number of polls, and panic in `call` and in the future
//!    ([`Step::panic_in_call`], [`Step::panic`]). Afterwards no call is [in
//!    flight](Calls::in_flight), and the next call works.
//! 4. All faults together: put the layer around a [`FaultLayer`]. Make a thousand calls and drop
//!    some. Assert what holds for every call, and [`Faults::assert_idle`]. Assert that a call works
//!    after [`Faults::stop`]. A failure shows its seed, which reproduces the run. If calls may
//!    panic, make each call in its own task.
//! 5. Among tower-keep's layers: put [`LogLayer::to`](tower_keep::LogLayer::to) a [`Recorder`]
//!    around the layer. Assert that each job has [one ending](Recorder::assert_one_terminal_each).
//!
//! The example below covers steps 1 and 2; the example at [`FaultLayer`] covers step 4.
//!
//! All time is tokio's. With a paused clock (`#[tokio::test(start_paused = true)]`, tokio's feature
//! `test-util`) an hour takes no real time, and elapsed times are exact.
//!
//! # Example
//!
//! A layer that answers with a default when the service fails, and its test. In a test suite,
//! `main` would be a `#[tokio::test(start_paused = true)]`.
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
//!     // `strict` checks that the layer waits for readiness.
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
mod fault;
mod gate;
#[cfg(feature = "http")]
pub mod http;
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
    fault::{Fault, FaultLayer, Faults, Faulty, FaultyFuture, InjectedFault},
    gate::Gate,
    readiness::Readiness,
    recorder::Recorder,
    response::ScriptedFuture,
    scripted::Scripted,
    step::Step,
    strict::{Probe, Strict, StrictFuture, StrictLayer},
    waker::{Polled, WakeCounter},
};
