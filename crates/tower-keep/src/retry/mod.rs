//! Recover from transient failures: retries with backoff, jitter and a retry budget.
//!
//! In production, begin with the preset [`RetryLayer::for_clients`]: short waits with jitter, and a
//! budget of 20 %. Jitter keeps clients that failed together from returning together, and the
//! budget limits the load on a failing service.
//!
//! ```
//! use tower_keep::RetryLayer;
//!
//! let retry = RetryLayer::for_clients();
//! # let _ = retry;
//! ```
//!
//! [`RetryLayer::new`] has exact waits, no jitter and no budget:
//!
//! | setting | default |
//! |---|---|
//! | [`max_retries`](RetryLayer::max_retries): retries, not attempts; per request: [`max_retries_by`](RetryLayer::max_retries_by) | 3 |
//! | [`base_delay`](RetryLayer::base_delay) | 1 s |
//! | [`max_delay`](RetryLayer::max_delay) | 30 s, or the base delay if that is longer |
//! | [`max_requested_delay`](RetryLayer::max_requested_delay): the longest wait that the service may request | 60 s |
//! | [`backoff`](RetryLayer::backoff): the strategy and its base | exponential from 1 s |
//! | [`jitter`](RetryLayer::jitter) | none |
//! | [`should_retry`](RetryLayer::should_retry), [`classify`](RetryLayer::classify), [`decide_with`](RetryLayer::decide_with), [`decide_with_request`](RetryLayer::decide_with_request), [`policy`](RetryLayer::policy) | every error |
//! | [`retry_after`](RetryLayer::retry_after): a delay from the outcome | none |
//! | [`budget`](RetryLayer::budget); per request: [`budget_by`](RetryLayer::budget_by) | none |
//! | [`on_give_up`](RetryLayer::on_give_up): a hook that can replace the last outcome | none |
//! | [`stop_outer_retries`](RetryLayer::stop_outer_retries) | no |
//! | [`max_total_time`](RetryLayer::max_total_time) | none |
//! | [`clone_with`](RetryLayer::clone_with) | `Request: Clone` |
//! | [`before_attempt`](RetryLayer::before_attempt), [`before_attempt_async`](RetryLayer::before_attempt_async): a hook that can change the request | none |
//!
//! The wait before retry n, counted from 0, is `min(base_delay * 2^n, max_delay)`: 1, 2 and 4 s by
//! default.
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
//! After each attempt a [`Policy`] decides whether and when to retry. The policy sees the outcome,
//! the [`Attempt`], and the data that it kept from the request. It returns a [`Decision`]:
//!
//! | decision | what follows |
//! |---|---|
//! | [`Stop`](Decision::Stop) | this layer returns the result |
//! | [`Retry`](Decision::Retry) | another attempt after the backoff |
//! | [`RetryAfter`](Decision::RetryAfter) | another attempt after the delay that the service requested, never earlier; above `max_requested_delay` the retry gives up |
//! | [`RetryIn`](Decision::RetryIn) | another attempt after exactly the delay that the policy chose |
//! | [`Never`](Decision::Never) | this layer and all outer retries of the stack return the result |
//!
//! The policy runs after every attempt that reached the service, including the last. The policy
//! also runs after an attempt that its time limit ended, whether the limit gave an error or a
//! response. In that case [`Attempt::timed_out`] is true. The default policy retries such an
//! attempt, as it retries an error.
//!
//! There are exceptions: some results are never retried, and the policy does not run for them:
//!
//! - an open circuit, a duplicate, or a rejection by [a layer of your own](crate::reject)
//! - a cancellation
//! - an expired overall time limit
//!
//! A foreign layer in between can hide these reasons from the retry. It hides them if it moves the
//! call to another task, as tower's `Buffer` does. It also hides them if it has the result and
//! awaits something before it passes the result on. With such a layer, check for the reason in
//! `should_retry`.
//!
//! Unless the policy returns `RetryIn`, the delay comes from the first source in this list that
//! gives a delay:
//!
//! 1. [`retry_after`](RetryLayer::retry_after)
//! 2. the policy's `RetryAfter`, such as the classifier's [hint](crate::Classify::retry_after)
//! 3. the backoff
//!
//! A [circuit](crate::circuit_breaker) takes its cooldown in the same order: its own `retry_after`,
//! then the classifier's hint, then its setting.
//!
//! For an HTTP client use `RetryLayer::http()`, with the feature `http`: it repeats only what may be
//! repeated. The server may have executed a `POST` that failed.
//!
//! # Before each attempt
//!
//! A hook can change the request before each attempt, including the first. It receives the original
//! request and the number of the new attempt.
//!
//! | hook | for | cost |
//! |---|---|---|
//! | [`before_attempt`](RetryLayer::before_attempt) | a header, a signature | only the hook itself |
//! | [`before_attempt_async`](RetryLayer::before_attempt_async) | a token that may need to be fetched | one clone of the service per call; the retry is always ready and waits for the service inside the call |
//! | [`before_attempt_async_with_outcome`](RetryLayer::before_attempt_async_with_outcome) | a token that must be fetched again after a refusal | as above |
//!
//! If the hook returns an error, the attempt fails, and the policy decides what follows. Limits
//! outside the retry include the time of the hook. The limit of an attempt starts after the hook.
//!
//! # When it gives up
//!
//! When the retry gives up, it returns the last outcome at once, without another wait. Before the
//! job ends, an event [`RetryGivenUp`](crate::EventKind::RetryGivenUp) gives the reason:
//!
//! | [reason](crate::GiveUpReason) | when |
//! |---|---|
//! | `Exhausted` | `max_retries` is used up |
//! | `Deadline` | the wait would reach the outer overall limit: the job's limit, or a [`TimeoutLayer`](crate::timeout) without a job |
//! | `TotalTime` | the wait would reach `max_total_time` |
//! | `AskedTooLong` | the service requested a longer delay than `max_requested_delay` |
//! | `Budget` | the [`RetryBudget`] is empty |
//! | `NotRepeatable` | `clone_with` returned no second request |
//! | `Forbidden` | the policy returned [`Never`](Decision::Never), or an inner retry [stops outer retries](RetryLayer::stop_outer_retries) |
//!
//! The event is sent only if the policy wanted another attempt or returned `Never`. With
//! `max_retries(0)` there is no event.
//!
//! If the retry gives up on a response, an `Ok` that the policy wanted to retry, the job counts as
//! failed. This holds for every observer and for an outer circuit breaker. The hook
//! [`on_give_up`](RetryLayer::on_give_up) receives the reason and can replace the last outcome.
//!
//! # Presets, jitter and budget
//!
//! | | retries | waits | budget | for |
//! |---|---|---|---|---|
//! | [`new`](RetryLayer::new) | 3 | 1, 2 and 4 s, no [jitter](Jitter::None), at most 30 s | none | tests, settings of your own |
//! | [`for_clients`](RetryLayer::for_clients) | 3 | up to 100, 200 and 400 ms, [full](Jitter::Full) jitter, at most 20 s | 20 % | a client whose caller waits |
//! | [`for_background`](RetryLayer::for_background) | 8 | from 1 s, [decorrelated](Jitter::Decorrelated), at most 60 s | none | background work: late is better than lost |
//!
//! Jitter spreads the retries, and a [`RetryBudget`] limits them.
//!
//! # Number of attempts
//!
//! The caller reads the number from [`ResponseFuture::attempts`], and observers read it from each
//! event. The inner code reads it from [`Job::attempt`](crate::Job::attempt) if a layer tracks the
//! job.
//!
//! # Duration of each attempt
//!
//! A job emits [`EventKind::AttemptEnded`](crate::EventKind::AttemptEnded) for each attempt that
//! reached the service. The event holds the duration and the outcome, even if a limit, a
//! cancellation or a panic ended the attempt. While a job waits for a retry, its view shows when
//! [the next attempt begins](crate::progress::JobView::next_attempt_at).
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
//! Each retry calls a new clone of the service, made after the previous call. The clone has the
//! state of the called instance: a round-robin balancer picks the next endpoint, and a connection
//! stays open. If `poll_ready` fails, the attempt fails, and that instance is not used again.
//!
//! # Place in the order
//!
//! Put the retry inside the overall limit and outside the limit of an attempt. A circuit breaker
//! outside the retry counts jobs. Inside the retry, it counts attempts. An overall limit *inside*
//! the retry still ends the job: no retry follows it.
//!
//! # Errors
//!
//! The retry returns the last error unchanged: `type Error` is that of the inner service. The error
//! must be `Display`, because events contain its text.
//!
//! # When it does not compile
//!
//! The request must be `Clone`, or [`clone_with`](RetryLayer::clone_with) must be set. If
//! `service.oneshot(request)` fails with "its trait bounds were not satisfied", the compiler does
//! not name the bound. Call the function by its path instead, `ServiceExt::oneshot(service,
//! request)`. The first line of the error then names the missing bound:
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
//! Dropping the future ends the retries. While the retry waits, it holds no readiness of the inner
//! service.
//!
//! # Cost
//!
//! A call without a retry allocates nothing. It takes no lock except that of [`RetryBudgets`]. It
//! reads the clock only with a budget or [`max_total_time`](RetryLayer::max_total_time). If a retry
//! may follow, the call clones the request and the service once. Otherwise it clones neither,
//! unless an asynchronous hook needs the service.
//!
//! # Under axum
//!
//! Put a retry in front of a client rather than in front of a handler. `Router::layer` needs
//! `clone_with`, because axum's body is not `Clone`. axum makes a new service for each route, and
//! even for each request. All services of one layer share its budget and the seed of its jitter.

mod after_attempt;
mod backoff;
mod before_attempt;
mod budget;
mod discard;
mod future;
mod give_up;
mod hooks;
mod keep_request;
mod layer;
mod max_retries;
mod next_attempt;
mod policy;
mod respond;
#[cfg(feature = "http")]
mod resume;
mod service;
mod settings;
mod shared_layer;

/// For the hooks of other modules.
#[cfg(feature = "http")]
pub(crate) mod hook {
    pub(crate) use super::{
        before_attempt::{ChangeRequest, ChangeWith, Unchanged},
        budget::{ChooseBudget, SealedBudget},
        discard::{DiscardOutcome, sealed::Sealed as SealedDiscard},
        give_up::KeepOutcome,
        hooks::{HookSet, Hooks},
        keep_request::{KeepRequest, sealed::Sealed as SealedKeep},
        max_retries::LayerRetries,
        respond::{Answered, Respond, RespondAsIs},
        resume::{NoAttempt, ResumableCall},
    };
}

#[cfg(feature = "pipeline")]
pub(crate) use self::settings::RetrySettings;
pub use self::{
    backoff::{Backoff, BackoffStrategy, Jitter},
    budget::{Balance, RetryBudget, RetryBudgets},
    future::ResponseFuture,
    give_up::GaveUp,
    layer::RetryLayer,
    policy::{Attempt, Decision, Policy},
    service::Retry,
};
