//! Testing tower layers one at a time, without a server and without waiting.
//!
//! | to | there is |
//! |---|---|
//! | stand in for the service | [`Scripted`], which plays a script of [`Step`]s and [`Readiness`] |
//! | see what the layer did to it | [`Calls`] |
//! | hold it back until the test says so | [`Gate`] |
//! | catch a layer that neglects `poll_ready` | [`Strict`], [`StrictLayer`] |
//! | let anything go wrong, by a seed | [`FaultLayer`], its [`Fault`]s, and the record of them, [`Faults`] |
//! | see a job's events | [`Recorder`] |
//! | poll by hand and count wakes | [`Polled`], [`WakeCounter`] |
//!
//! # I wrote a layer: how do I test it?
//!
//! 1. What it does: put it around a [`Scripted`] service, one [`Step`] for each call, and look at the results and at
//!    [`Calls`]. Make the service [`strict`](Scripted::strict), so that a call without readiness panics. Test each promise
//!    of the layer's documentation by a script of its own: an answer, an error, a slow answer, a call that never ends.
//! 2. What it waits for: hold the service back by a [`Gate`] or a delay, and poll by hand with [`Polled`].
//!    [`assert_waiting`](Polled::assert_waiting) catches a layer that wakes itself without end.
//! 3. What it leaves behind: drop the future after each number of polls, and panic in `call` and in the future
//!    ([`Step::panic_in_call`], [`Step::panic`]). Afterwards nothing is [in flight](Calls::in_flight), and the next call works.
//! 4. Everything together: put it around a [`FaultLayer`] and make a thousand calls, some of which you drop. Assert what
//!    holds for each call whatever happens, that [`Faults::assert_idle`] holds, and that a call works after
//!    [`Faults::stop`]. A failure names its seed, which makes the same run again. Where calls may panic, make each in a task
//!    of its own.
//! 5. If it is to stand among tower-keep's layers: put [`LogLayer::to`](tower_keep::LogLayer::to) a [`Recorder`] around it, and
//!    assert that each job has [one ending](Recorder::assert_one_terminal_each).
//!
//! The first example below is step 1 and 2, the one at [`FaultLayer`] is step 4.
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
mod fault;
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
