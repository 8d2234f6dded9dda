//! Classifiers of results as success, failure or ignored, for Retry, CircuitBreaker and Log.
//!
//! Give the same classifier to all three layers. Its verdict takes precedence over the actions of
//! inner layers, with one exception: a rejected call (an open circuit, a duplicate, a cancellation)
//! is never counted or retried, as it did not reach the service.

mod with_retry_after;

use std::{borrow::Cow, sync::Arc, time::Duration};

#[allow(unused_imports, reason = "only two of the layers make one")]
pub(crate) use self::with_retry_after::WithRetryAfter;
use crate::error_text::bounded_text;

/// The class of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The call succeeded.
    Success,
    /// The call failed: a circuit counts it, a retry may follow, the job ends as failed.
    Failure,
    /// The call says nothing about the service: no circuit counts it, no retry follows. For Log, the
    /// layers inside decide: the job fails only if one of them calls the response a failure.
    Ignored,
}

/// Classifies results as success, failure or ignored.
///
/// Any `Fn(&Result<Response, Error>) -> Outcome` is a classifier. It runs outside every lock.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not classify `Result<{Response}, {Error}>`, the result of the service",
    label = "does not classify `Result<{Response}, {Error}>`",
    note = "a classifier implements `Classify<{Response}, {Error}>`, or is an `Fn(&Result<{Response}, {Error}>) -> Outcome`",
    note = "the classifiers of the layers made by `http()` do for HTTP responses"
)]
pub trait Classify<Response, Error> {
    /// Classifies this result.
    fn classify(&self, result: &Result<Response, Error>) -> Outcome;

    /// The delay that the service requests, as with HTTP's `Retry-After`. Called only for failures.
    /// Default: `None`.
    fn retry_after(&self, result: &Result<Response, Error>) -> Option<Duration> {
        let _ = result;
        None
    }

    /// Describes a failure for events, logs and open circuits, such as "the server answered 503".
    ///
    /// Called only for failures, at most once by each layer. The text is used unchanged, up to 1
    /// KiB.
    ///
    /// Default: `None`. An error then has the text of [`describe_error`](crate::describe_error),
    /// and a response a general sentence.
    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        let _ = result;
        None
    }

    /// Whether this classifier examines responses. Default: `true`; [`ErrorsAsFailures`] returns
    /// `false`.
    ///
    /// If it returns `false` and an inner layer stops a call with a response, that layer's action
    /// counts instead of the class of the response.
    fn judges_responses(&self) -> bool {
        true
    }
}

#[diagnostic::do_not_recommend]
impl<F, Response, Error> Classify<Response, Error> for F
where
    F: Fn(&Result<Response, Error>) -> Outcome,
{
    fn classify(&self, result: &Result<Response, Error>) -> Outcome {
        self(result)
    }
}

/// The classifier's description of a failure, cut to the limit of an event.
pub(crate) fn describe<C, Response, Error>(
    classify: &C,
    result: &Result<Response, Error>,
) -> Option<Arc<str>>
where
    C: Classify<Response, Error>,
{
    classify
        .describe(result)
        .map(|text| bounded_text(&text).into())
}

/// The default: `Ok` is a success, `Err` a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsAsFailures;

impl<Response, Error> Classify<Response, Error> for ErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<Response, Error>) -> Outcome {
        if result.is_ok() {
            Outcome::Success
        } else {
            Outcome::Failure
        }
    }

    #[inline]
    fn judges_responses(&self) -> bool {
        false
    }
}
