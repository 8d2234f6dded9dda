//! What a layer does when *it* stops a call.
//!
//! | | the caller sees | `type Error` |
//! |---|---|---|
//! | default, [`Fail`] | an error with the typed reason inside | [`BoxError`] |
//! | `.fail_with(AppError::Timeout)`, [`FailWith`] | the user's own error | what the closure returns |
//! | `.respond_with(\|why\| response)`, [`RespondWith`] | an `Ok` response | the inner service's |
//!
//! With the third, a layer goes straight into `axum::Router::layer` or in front of a hyper server.
//!
//! # What stopped a call
//!
//! [`Rejection::of`] asks an error, whichever layer it comes from.
//!
//! # In a layer of your own
//!
//! A layer of your own can stop calls the way ours do, in two steps:
//!
//! 1. It makes the result with any [`OnReject`], of a [`Rejected`] that holds a typed reason.
//! 2. It marks that result with [`mark_rejection`], as the last thing before it returns it.
//!
//! The layers around it then know that a gate turned the call away: it is not retried, no circuit counts it, and the log
//! calls it rejected. Callers find the typed reason with [`find`](crate::find).
//!
//! ```
//! use futures_util::future::{BoxFuture, FutureExt};
//! use std::task::{Context, Poll};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{
//!     BoxError, Rejection, RetryLayer, find,
//!     reject::{Fail, OnReject, Rejected, RespondWith, mark_rejection},
//! };
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the bulkhead is full")]
//! struct BulkheadFull;
//!
//! /// Turns every call away: a bulkhead without room.
//! #[derive(Clone)]
//! struct Bulkhead<S, O> {
//!     inner: S,
//!     on_reject: O,
//! }
//!
//! impl<S, O, Request> Service<Request> for Bulkhead<S, O>
//! where
//!     S: Service<Request>,
//!     O: OnReject<Rejected, S::Response, S::Error> + Clone + Send + 'static,
//! {
//!     type Response = S::Response;
//!     type Error = O::Error;
//!     type Future = BoxFuture<'static, Result<S::Response, O::Error>>;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
//!         self.inner.poll_ready(cx).map_err(|error| self.on_reject.pass(error))
//!     }
//!
//!     fn call(&mut self, _: Request) -> Self::Future {
//!         let on_reject = self.on_reject.clone();
//!         async move {
//!             let result = on_reject.reject(Rejected::new(BulkheadFull));
//!             mark_rejection(&result, "the bulkhead is full");
//!             result
//!         }
//!         .boxed()
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let service = service_fn(|(): ()| async { Ok::<_, BoxError>("done") });
//! let bulkhead = Bulkhead { inner: service, on_reject: Fail };
//! let stack = ServiceBuilder::new().layer(RetryLayer::new()).service(bulkhead);
//! // At once, although the retry would try again after any other error.
//! let error = stack.oneshot(()).await.unwrap_err();
//! assert!(find::<BulkheadFull>(&*error).is_some());
//! assert_eq!(Rejection::of(&*error), Some(Rejection::Other));
//!
//! // The same layer answers with a response instead.
//! let bulkhead = Bulkhead { inner: service, on_reject: RespondWith::new(|_: Rejected| "busy") };
//! assert_eq!(bulkhead.oneshot(()).await.unwrap(), "busy");
//! # });
//! ```
//!
//! A layer or a closure that turns such a rejection into a good result, a fallback say, calls
//! [`recovered`].

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use crate::{
    error::{BoxError, cause_of},
    error_text::bounded_text,
    event::{CancelReason, GiveUpReason},
    job::{
        Cancelled, Elapsed,
        verdict::{self, VerdictKind},
    },
};

/// Turns a layer's reason into what the caller sees, and passes on the inner service's errors.
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes neither a `{Response}` nor an error of a `{Reason}`",
    label = "does not say what a rejected caller gets",
    note = "`Fail`, `FailWith` and `RespondWith` do, for the response and the error of the service inside"
)]
pub trait OnReject<Reason, Response, InnerError> {
    /// The error type of the service that the layer makes.
    type Error;

    /// The layer stopped the call for this reason.
    ///
    /// # Errors
    ///
    /// Whatever the mode makes of the reason; [`RespondWith`] never fails.
    fn reject(&self, reason: Reason) -> Result<Response, Self::Error>;

    /// The inner service failed by itself.
    fn pass(&self, error: InnerError) -> Self::Error;

    /// Whether [`reject`](Self::reject) answers with a response.
    fn responds(&self) -> bool {
        false
    }

    /// The error, where its type is known to have sources, so that events can name them. Default:
    /// no more is known of it than its `Display`.
    fn as_error<'a>(&self, error: &'a Self::Error) -> Option<&'a (dyn Error + 'static)> {
        let _ = error;
        None
    }
}

/// Fails with a [`BoxError`] that holds the typed reason. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fail;

impl<Reason, Response, InnerError> OnReject<Reason, Response, InnerError> for Fail
where
    Reason: Into<BoxError>,
    InnerError: Into<BoxError>,
{
    type Error = BoxError;

    #[inline]
    fn reject(&self, reason: Reason) -> Result<Response, BoxError> {
        Err(reason.into())
    }

    #[inline]
    fn pass(&self, error: InnerError) -> BoxError {
        error.into()
    }

    #[inline]
    fn as_error<'a>(&self, error: &'a BoxError) -> Option<&'a (dyn Error + 'static)> {
        Some(&**error)
    }
}

/// Fails with the user's own error type.
#[derive(Clone, Copy)]
pub struct FailWith<F>(pub(crate) F);

impl<F> FailWith<F> {
    /// Makes the error of the reason. The layers' `fail_with` do this.
    pub const fn new(fail: F) -> Self {
        Self(fail)
    }
}

impl<F, Reason, Response, InnerError, Error> OnReject<Reason, Response, InnerError> for FailWith<F>
where
    F: Fn(Reason) -> Error,
    InnerError: Into<Error>,
{
    type Error = Error;

    #[inline]
    fn reject(&self, reason: Reason) -> Result<Response, Error> {
        Err((self.0)(reason))
    }

    #[inline]
    fn pass(&self, error: InnerError) -> Error {
        error.into()
    }
}

/// Answers with a response and leaves the inner error type untouched.
#[derive(Clone, Copy)]
pub struct RespondWith<F>(pub(crate) F);

impl<F> RespondWith<F> {
    /// Makes the response of the reason. The layers' `respond_with` do this.
    pub const fn new(respond: F) -> Self {
        Self(respond)
    }
}

impl<F, Reason, Response, InnerError> OnReject<Reason, Response, InnerError> for RespondWith<F>
where
    F: Fn(Reason) -> Response,
{
    type Error = InnerError;

    #[inline]
    fn reject(&self, reason: Reason) -> Result<Response, InnerError> {
        Ok((self.0)(reason))
    }

    #[inline]
    fn pass(&self, error: InnerError) -> InnerError {
        error
    }

    fn responds(&self) -> bool {
        true
    }
}

impl<F> fmt::Debug for FailWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FailWith")
            .field(&std::any::type_name::<F>())
            .finish()
    }
}

impl<F> fmt::Debug for RespondWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RespondWith")
            .field(&std::any::type_name::<F>())
            .finish()
    }
}

/// Marks this result as a rejection by the layer that returns it: a gate that turned the call away.
///
/// Call it in the poll that returns the result, as the last thing before. `description` says for
/// events what happened, where the result is a response; an error speaks for itself.
///
/// The layers around the caller then neither retry nor count the result, and the job ends as
/// [rejected](crate::FailureCause::Rejected), unless a layer in between [recovers](recovered). A
/// layer in between that awaits more before it passes the result on hides the mark.
pub fn mark_rejection<T, E>(result: &Result<T, E>, description: impl Into<Cow<'static, str>>) {
    verdict::leave(VerdictKind::Rejected, result.is_ok());
    if result.is_ok() {
        verdict::describe(Arc::from(bounded_text(&description.into())), true);
    }
}

/// Says that the code that calls this recovered from a rejection or a time limit inside it: what it
/// returns is its own result.
///
/// Without it, the layers around take an `Ok` with which a layer of ours answered, and an error that
/// comes up in the same poll, for that layer's rejection, as somebody may only have changed its
/// form. Call it where the fallback is made:
///
/// ```
/// use std::{num::NonZeroUsize, time::Duration};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_keep::{BoxError, Event, EventKind, LogLayer, TimeoutLayer, reject::recovered};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let (ended, ends) = std::sync::mpsc::channel();
/// let stack = ServiceBuilder::new()
///     .layer(LogLayer::to(move |event: &Event| {
///         if event.kind.is_terminal() {
///             ended.send(event.kind.clone()).unwrap();
///         }
///     }))
///     .map_response(|page: &'static str| match page {
///         "too slow" => {
///             recovered();
///             "yesterday's page"
///         }
///         page => page,
///     })
///     .layer(TimeoutLayer::new(Duration::from_secs(1)).respond_with(|_| "too slow"))
///     .service(service_fn(|(): ()| std::future::pending::<Result<&str, BoxError>>()));
/// assert_eq!(stack.oneshot(()).await.unwrap(), "yesterday's page");
/// assert_eq!(ends.recv().unwrap(), EventKind::Succeeded);
/// # });
/// ```
pub fn recovered() {
    verdict::clear();
}

/// The reason of a gate of your own that turned a call away: any error or text, for [`OnReject`].
///
/// It reads like the reason that it holds, which is its [`source`](Error::source), so that [`find`](crate::find) finds
/// it. [`Rejection::of`] calls it [`Other`](Rejection::Other).
#[derive(Clone, Debug)]
pub struct Rejected {
    reason: Arc<dyn Error + Send + Sync>,
}

impl Rejected {
    /// The gate turned the call away for this reason: an error of your own, or a text such as "the bulkhead is full".
    pub fn new(reason: impl Into<BoxError>) -> Self {
        Self {
            reason: reason.into().into(),
        }
    }

    /// Why. [`find`](crate::find) gives it by its type.
    #[must_use]
    pub fn reason(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.reason
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.reason)
    }
}

/// What stopped a call: the one question to an error of a stack.
///
/// ```
/// use std::time::Duration;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_keep::{BoxError, Rejection, TimeoutLayer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let hangs = service_fn(|(): ()| std::future::pending::<Result<(), BoxError>>());
/// let error = TimeoutLayer::new(Duration::from_secs(1)).layer(hangs).oneshot(()).await.unwrap_err();
/// let status = match Rejection::of(&*error) {
///     Some(Rejection::TimedOut) => 504,
///     Some(Rejection::CircuitOpen | Rejection::Full) => 503,
///     Some(Rejection::Duplicate) => 409,
///     _ => 500,
/// };
/// assert_eq!(status, 504);
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// A time limit expired: the source is an `Elapsed`.
    TimedOut,
    /// A circuit was open: the source is an `Open`.
    CircuitOpen,
    /// An identical request was in flight, or a newer one took its place: the source is a
    /// `Duplicate`.
    Duplicate,
    /// The job was cancelled: the source is a [`Cancelled`].
    Cancelled,
    /// A dispatcher had no room: the source is a `Full`.
    Full,
    /// A retry gave up, and its [`on_give_up`](crate::RetryLayer::on_give_up) says so by a `GaveUp`.
    GaveUp {
        /// How many attempts were made, the first one included.
        attempts: u32,
        /// Why there is no other.
        reason: GiveUpReason,
    },
    /// A gate that is not ours turned the call away: the source is a [`Rejected`].
    Other,
}

impl Rejection {
    /// What stopped the call that ended with this error: the outermost reason in its chain of
    /// sources. `None` if the service itself failed.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let rejection = Self::of_leaf(error);
            if rejection.is_some() {
                return rejection;
            }
            next = cause_of(error);
        }
        None
    }

    fn of_leaf(error: &(dyn Error + 'static)) -> Option<Self> {
        if error.is::<Elapsed>() {
            return Some(Self::TimedOut);
        }
        if let Some(cancelled) = error.downcast_ref::<Cancelled>() {
            return Some(match cancelled.reason() {
                CancelReason::TimedOut => Self::TimedOut,
                _ => Self::Cancelled,
            });
        }
        if error.is::<Rejected>() {
            return Some(Self::Other);
        }
        #[cfg(feature = "circuit-breaker")]
        if error.is::<crate::circuit_breaker::Open>() {
            return Some(Self::CircuitOpen);
        }
        #[cfg(feature = "dedup")]
        if let Some(duplicate) = error.downcast_ref::<crate::dedup::Duplicate>() {
            // A panic is the service's own failure.
            return (!duplicate.execution_panicked()).then_some(Self::Duplicate);
        }
        #[cfg(feature = "dispatch")]
        if error.is::<crate::dispatch::Full>() {
            return Some(Self::Full);
        }
        #[cfg(feature = "retry")]
        if let Some(gave_up) = error.downcast_ref::<crate::retry::GaveUp>() {
            return Some(Self::GaveUp {
                attempts: gave_up.attempts(),
                reason: gave_up.reason(),
            });
        }
        None
    }
}
