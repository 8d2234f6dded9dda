//! Recover from transient failures.
//!
//! In production begin with the preset [`RetryLayer::for_clients`]: short waits with jitter, and a budget of 20 %. Jitter
//! keeps clients that failed together from coming back together; the budget keeps retries from multiplying the load of a
//! service that fails.
//!
//! ```
//! use tower_keep::RetryLayer;
//!
//! let retry = RetryLayer::for_clients();
//! # let _ = retry;
//! ```
//!
//! The defaults of [`RetryLayer::new`] are exact, without jitter and budget:
//!
//! | setting | default |
//! |---|---|
//! | [`max_retries`](RetryLayer::max_retries): retries, not attempts; [`max_retries_by`](RetryLayer::max_retries_by) the request | 3 |
//! | [`base_delay`](RetryLayer::base_delay) | 1 s |
//! | [`max_delay`](RetryLayer::max_delay) | 30 s, or the base delay if that is longer |
//! | [`max_requested_delay`](RetryLayer::max_requested_delay): the longest wait that the service may ask for | 60 s |
//! | [`backoff`](RetryLayer::backoff): the strategy and its base | exponential from 1 s |
//! | [`jitter`](RetryLayer::jitter) | none |
//! | [`should_retry`](RetryLayer::should_retry), [`classify`](RetryLayer::classify), [`decide_with`](RetryLayer::decide_with), [`decide_with_request`](RetryLayer::decide_with_request), [`policy`](RetryLayer::policy) | every error |
//! | [`retry_after`](RetryLayer::retry_after): a delay from the outcome | none |
//! | [`budget`](RetryLayer::budget), [`budget_by`](RetryLayer::budget_by) the request | none |
//! | [`on_give_up`](RetryLayer::on_give_up): a hook that may replace the last outcome | none |
//! | [`stop_outer_retries`](RetryLayer::stop_outer_retries) | no |
//! | [`max_total_time`](RetryLayer::max_total_time) | none |
//! | [`clone_with`](RetryLayer::clone_with) | `Request: Clone` |
//! | [`before_attempt`](RetryLayer::before_attempt), [`before_attempt_async`](RetryLayer::before_attempt_async): a hook that changes the request | none |
//!
//! The wait before retry n, counted from 0, is `min(base_delay * 2^n, max_delay)`: 1, 2 and 4 s by default.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Job, LogLayer, RetryLayer, retry::RetryBudget};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum Failure {
//!     #[error("busy, come back in {0:?}")]
//!     Busy(Duration),
//!     #[error("broken")]
//!     Broken,
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // Shared by all layers that call the same service.
//! let budget = RetryBudget::default();
//! let service = ServiceBuilder::new()
//!     .layer(LogLayer::new())
//!     .layer(
//!         RetryLayer::for_clients()
//!             .should_retry(|failure: &Failure| matches!(failure, Failure::Busy(_)))
//!             .retry_after(|result: &Result<u32, Failure>| match result {
//!                 Err(Failure::Busy(wait)) => Some(*wait),
//!                 _ => None,
//!             })
//!             .budget(budget.clone()),
//!     )
//!     .service(service_fn(|_: ()| async {
//!         match Job::current().attempt() {
//!             1 => Err(Failure::Busy(Duration::from_millis(50))),
//!             2 => Err(Failure::Broken),
//!             n => Ok(n),
//!         }
//!     }));
//! let error = service.oneshot(()).await.unwrap_err();
//! assert_eq!(error.to_string(), "broken");
//! assert_eq!((budget.balance().first_attempts(), budget.balance().retries()), (1, 1));
//! # });
//! ```
//!
//! # When to retry
//!
//! One decision says whether and when: a [`Policy`] sees what it kept of the request, the outcome and
//! the [`Attempt`], and answers with a [`Decision`].
//!
//! | decision | what follows |
//! |---|---|
//! | [`Stop`](Decision::Stop) | the result is final here |
//! | [`Retry`](Decision::Retry) | another attempt after the backoff |
//! | [`RetryAfter`](Decision::RetryAfter) | another attempt after the time that the service asked for, never earlier; beyond `max_requested_delay` none |
//! | [`RetryIn`](Decision::RetryIn) | another attempt after exactly the time that the policy chose |
//! | [`Never`](Decision::Never) | the result is final, for the retries around this one in the same stack too |
//!
//! The policy is asked after every attempt that reached the service, the last one included. It is
//! also asked where a time limit cut the attempt off, whether the limit's layer failed or answered
//! with a response: [`Attempt::timed_out`] says so. Without a policy of your own, such an attempt is
//! retried like an error.
//!
//! The policy is not asked about what is never retried: an open circuit, a duplicate, a rejection by
//! [a gate of your own](crate::reject), a cancellation, an overall time limit.
//! (A foreign layer in between that moves the call to another task, such as tower's `Buffer`, or that awaits something
//! more before it passes the result on, hides this from the retry: look for the reason in `should_retry` there.)
//!
//! How long the service asks to be left alone is what [`retry_after`](RetryLayer::retry_after) says,
//! or else the classifier's [hint](crate::Classify::retry_after), or else nothing, which means the
//! backoff. [`CircuitBreakerLayer`](crate::circuit_breaker) has the same order.
//!
//! Of HTTP requests retry only the idempotent ones, by [`clone_with`](RetryLayer::clone_with): a
//! `POST` that failed may have been carried out.
//!
//! # Before each attempt
//!
//! A hook changes the request before each attempt, the first one too. It gets the request as it came, and the number of
//! the attempt that begins.
//!
//! | hook | for | what it costs |
//! |---|---|---|
//! | [`before_attempt`](RetryLayer::before_attempt) | a header, a signature | nothing but itself |
//! | [`before_attempt_async`](RetryLayer::before_attempt_async) | a token that may have to be fetched | the retry is always ready, and waits for the service in the call: a clone of the service for each call |
//! | [`before_attempt_async_with_outcome`](RetryLayer::before_attempt_async_with_outcome) | a token that is fetched again after a refusal | as above |
//!
//! An error of the hook is the attempt's failure, about which the policy is asked. The limits around the retry hold for
//! the hook; that of an attempt begins after it. What the hook writes into the request, a layer inside can read: with
//! [`TimeoutLayer::limit_by`](crate::TimeoutLayer::limit_by) the limit of an attempt depends on its number. Before the
//! first attempt a job that a layer inside begins is not known yet.
//!
//! # When it gives up
//!
//! At once, without another wait, and with the last outcome. An event
//! [`RetryGivenUp`](crate::EventKind::RetryGivenUp) says why, before the job's end:
//!
//! | [reason](crate::GiveUpReason) | when |
//! |---|---|
//! | `Exhausted` | `max_retries` were made |
//! | `Deadline` | the wait would reach the end of the overall limit around it: the job's, or that of a [`TimeoutLayer`](crate::timeout) without a job |
//! | `TotalTime` | the wait would reach `max_total_time` |
//! | `AskedTooLong` | the service asked for a wait beyond `max_requested_delay` |
//! | `Budget` | the [`RetryBudget`] is empty |
//! | `NotRepeatable` | `clone_with` gave no second request |
//! | `Forbidden` | the policy said [`Never`](Decision::Never), or a retry inside [stops the outer ones](RetryLayer::stop_outer_retries) |
//!
//! There is an event if the policy wanted another attempt or forbade any. There is none for an error
//! that the policy does not retry, for a cancelled job, or where `max_retries` is 0.
//!
//! If the last outcome is a response that the policy wanted to retry, the job ends as failed, for
//! every observer and for a circuit breaker around. A hook may replace the last outcome and knows the
//! reason: [`on_give_up`](RetryLayer::on_give_up).
//!
//! # How many clients come back at once
//!
//! | | retries | waits | budget | for |
//! |---|---|---|---|---|
//! | [`new`](RetryLayer::new) | 3 | 1, 2 and 4 s, no [jitter](Jitter::None), at most 30 s | none | tests, settings of your own |
//! | [`for_clients`](RetryLayer::for_clients) | 3 | up to 100, 200 and 400 ms, [full](Jitter::Full) jitter, at most 20 s | 20 % | a client with a caller who waits |
//! | [`for_background`](RetryLayer::for_background) | 8 | from 1 s, [decorrelated](Jitter::Decorrelated), at most 60 s | none | background work: late is better than lost |
//!
//! Jitter spreads the retries, a [`RetryBudget`] bounds them. It is withdrawn from when the retry is decided on, before
//! the wait, and a retry that then does not come, as the call was dropped, stays spent until it leaves the window.
//!
//! # How many attempts it took
//!
//! The caller learns it from [`ResponseFuture::attempts`]; the code inside from
//! [`Job::attempt`](crate::Job::attempt), if a layer tracks the job; observers from each event. A request is cloned once
//! before each attempt that another may follow.
//!
//! # How long each attempt took
//!
//! A job tells of each attempt that reached the service, as [`EventKind::AttemptEnded`](crate::EventKind::AttemptEnded): how
//! long it took and how it ended, also where a limit, a cancellation or a panic dropped it. While a job waits for its next
//! attempt, its view on a board says when [that begins](crate::progress::JobView::next_attempt_at).
//!
//! ```
//! use std::{sync::{Arc, Mutex}, time::Duration};
//!
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Event, EventKind, Job, LogLayer, RetryLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let took = Arc::new(Mutex::new(Vec::new()));
//! let attempts = Arc::clone(&took);
//! let service = ServiceBuilder::new()
//!     .layer(LogLayer::to(move |event: &Event| {
//!         if let EventKind::AttemptEnded { took, outcome, .. } = event.kind {
//!             attempts.lock().unwrap().push((took, outcome.to_string()));
//!         }
//!     }))
//!     .layer(RetryLayer::new())
//!     .service(service_fn(|_: ()| async {
//!         let attempt = Job::current().attempt();
//!         tokio::time::sleep(Duration::from_secs(attempt.into())).await;
//!         if attempt == 1 { Err(BoxError::from("busy")) } else { Ok(()) }
//!     }));
//! service.oneshot(()).await.unwrap();
//! let expected = [(1, "failed: an error"), (2, "succeeded")];
//! let expected = expected.map(|(secs, how)| (Duration::from_secs(secs), how.to_owned()));
//! assert_eq!(*took.lock().unwrap(), expected);
//! # });
//! ```
//!
//! # Which instance it calls
//!
//! The next attempt goes to a clone of the service that is made after the call before it. So what
//! that instance has learnt is not lost: a round-robin asks the next endpoint, and a connection is
//! kept. A call clones the service once if another attempt may follow, else not at all. A service
//! whose readiness fails has failed the attempt, and is not used again.
//!
//! # Its place in the order
//!
//! Inside the overall limit, outside the limit of an attempt. The circuit breaker goes outside it, to count jobs, or
//! inside it, to count attempts. An overall limit *inside* the retry is still the job's: there is no retry past it.
//!
//! # Errors
//!
//! The last one, unchanged: `type Error` is the inner service's. It has to be `Display` for the events.
//!
//! # When it does not compile
//!
//! The request has to be `Clone`, or [`clone_with`](RetryLayer::clone_with) says how to repeat it. Where a method such as
//! `service.oneshot(request)` fails with "its trait bounds were not satisfied", the compiler does not say which. Call the
//! function by its path instead, `ServiceExt::oneshot(service, request)`, and the first line says what is missing:
//!
//! ```compile_fail,E0277
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_keep::{BoxError, RetryLayer};
//!
//! struct Upload;
//!
//! let service = RetryLayer::new().layer(service_fn(|_: Upload| async { Ok::<_, BoxError>(()) }));
//! // error[E0277]: `Upload` cannot be repeated: implement `Clone` or set `clone_with`
//! let call = ServiceExt::oneshot(service, Upload);
//! ```
//!
//! # Cancel safety
//!
//! Dropping the future during a wait retries nothing more. No readiness of the inner service is held
//! while waiting.
//!
//! # Cost
//!
//! A call that is not repeated allocates nothing. It takes no lock but that of [`RetryBudgets`], and reads the clock only
//! with a budget or a [`max_total_time`](RetryLayer::max_total_time). Clones of a service use the reference count of the
//! thread that made them, as long as the service that the layer made is there. So clone the service in the thread that
//! calls it.
//!
//! # Under axum
//!
//! Goes into `Router::layer` where the request is `Clone`; axum's body is not, so there `clone_with` has to say how to
//! repeat it. A retry belongs in front of a client rather than in front of a handler. axum makes new services per route
//! and even per request: a budget and a seed belong to the layer, and are shared by all of them.

mod after_attempt;
mod backoff;
mod before_attempt;
mod budget;
mod clone_request;
mod future;
mod give_up;
mod hooks;
mod layer;
mod max_retries;
mod policy;
mod service;
mod settings;
mod shared_layer;

#[cfg(feature = "pipeline")]
pub(crate) use self::settings::Settings;
pub use self::{
    backoff::{Backoff, BackoffStrategy, Jitter},
    budget::{Balance, RetryBudget, RetryBudgets},
    future::ResponseFuture,
    give_up::GaveUp,
    layer::RetryLayer,
    policy::{Attempt, Decision, Policy},
    service::Retry,
};
