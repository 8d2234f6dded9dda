//! Rejections: what the caller gets when a layer stops a call, and how to recognize it.
//!
//! | mode | the caller gets | `type Error` |
//! |---|---|---|
//! | default, [`Fail`] | an error with the typed reason inside | [`BoxError`] |
//! | `.fail_with(AppError::Timeout)`, [`FailWith`] | your own error | the closure's error type |
//! | `.respond_with(\|why\| response)`, [`RespondWith`] | an `Ok` response | the inner service's |
//!
//! With `respond_with`, a layer fits directly into `axum::Router::layer`, or around a service that
//! hyper serves.
//!
//! # What stopped a call
//!
//! [`Rejection::of`] recognizes the rejections of all layers in an error.
//!
//! # In a layer of your own
//!
//! Your own layer can reject calls like the layers of this library, in two steps:
//!
//! 1. Make the result with an [`OnReject`], from a [`Rejected`] that holds a typed reason.
//! 2. Mark the result with [`mark_rejection`], directly before you return it.
//!
//! Outer layers then recognize the rejection: the call is not retried, no circuit counts it, and
//! the log shows it as rejected. Callers get the typed reason with [`find`](crate::find).
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
//! /// A bulkhead without room: it rejects every call.
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
//! // At once: the retry would repeat any other error.
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
//! If a layer or a closure replaces a rejection with a good result, such as a fallback, it must
//! call [`recovered`].

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

/// Converts a layer's reason into a result for the caller, and passes on the inner service's
/// errors.
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes neither a `{Response}` nor an error of a `{Reason}`",
    label = "cannot make the result of a rejected call",
    note = "`Fail`, `FailWith` and `RespondWith` do, for the response and the error of the service inside"
)]
pub trait OnReject<Reason, Response, InnerError> {
    /// The error type of the service that the layer makes.
    type Error;

    /// Makes the result of a call that the layer rejected for this reason.
    ///
    /// # Errors
    ///
    /// The error that the mode makes from the reason. [`RespondWith`] never fails.
    fn reject(&self, reason: Reason) -> Result<Response, Self::Error>;

    /// Converts an error of the inner service.
    fn pass(&self, error: InnerError) -> Self::Error;

    /// Whether [`reject`](Self::reject) returns a response. Default: no.
    fn responds(&self) -> bool {
        false
    }

    /// The error as `dyn Error`, so that events can name its sources. Default: `None`; events then
    /// show only its `Display`.
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

/// Fails with your own error type.
#[derive(Clone, Copy)]
pub struct FailWith<F>(pub(crate) F);

impl<F> FailWith<F> {
    /// Makes the error from the reason with this closure, like `fail_with` of the layers.
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

/// Returns a response and keeps the inner error type.
#[derive(Clone, Copy)]
pub struct RespondWith<F>(pub(crate) F);

impl<F> RespondWith<F> {
    /// Makes the response from the reason with this closure, like `respond_with` of the layers.
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

/// Marks a result as a rejection by the layer that returns it.
///
/// Call it in the poll that returns the result, directly before the return. `description` is the
/// text for events if the result is a response; an error has its own text.
///
/// Outer layers then neither retry nor count the result. The job ends as
/// [rejected](crate::FailureCause::Rejected), unless a layer in between [recovers](recovered). The
/// mark is lost if a layer in between awaits something before it passes the result on.
pub fn mark_rejection<T, E>(result: &Result<T, E>, description: impl Into<Cow<'static, str>>) {
    verdict::leave(VerdictKind::Rejected, result.is_ok());
    if result.is_ok() {
        verdict::describe(Arc::from(bounded_text(&description.into())), true);
    }
}

/// Declares that the calling code recovered from an inner rejection or time limit, so that what it
/// returns counts as its own result.
///
/// Without this call, outer layers treat the result of the same poll as the rejection in another
/// form. Call it where you make the fallback:
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

/// The reason of a rejection by your own layer: any error or text, for [`OnReject`].
///
/// Its text is that of the reason. The reason is also its [`source`](Error::source), for
/// [`find`](crate::find). [`Rejection::of`] returns [`Other`](Rejection::Other) for it.
#[derive(Clone, Debug)]
pub struct Rejected {
    reason: Arc<dyn Error + Send + Sync>,
}

impl Rejected {
    /// A rejection for this reason: your own error, or a text such as "the bulkhead is full".
    pub fn new(reason: impl Into<BoxError>) -> Self {
        Self {
            reason: reason.into().into(),
        }
    }

    /// The reason. [`find`](crate::find) gets it by its type.
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

/// What stopped a call, recognized from an error of a stack.
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
    /// An identical request was in flight, or a newer request replaced this one: the source is a
    /// `Duplicate`.
    Duplicate,
    /// The job was cancelled: the source is a [`Cancelled`].
    Cancelled,
    /// A dispatcher was full: the source is a `Full`.
    Full,
    /// A retry gave up, and its [`on_give_up`](crate::RetryLayer::on_give_up) returned a `GaveUp`.
    GaveUp {
        /// The number of attempts, including the first.
        attempts: u32,
        /// The reason for giving up.
        reason: GiveUpReason,
    },
    /// A layer of your own rejected the call: the source is a [`Rejected`].
    Other,
}

impl Rejection {
    /// The outermost rejection in the error's chain of sources. `None` if the service itself
    /// failed.
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
            // A panic is a failure of the service.
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
