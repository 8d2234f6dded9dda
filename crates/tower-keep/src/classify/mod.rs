//! What counts as a success: one notion for Retry, CircuitBreaker and Log.
//!
//! Give one classifier to all three. A layer that was given a classifier believes it, whatever a
//! layer inside did to the call, with one exception: what a gate turned away (an open circuit, a
//! duplicate, a cancellation) is never counted nor retried, as the service has not seen it.

mod with_retry_after;

use std::{borrow::Cow, sync::Arc, time::Duration};

#[allow(unused_imports, reason = "only two of the layers make one")]
pub(crate) use self::with_retry_after::WithRetryAfter;
use crate::error_text::bounded_text;

/// What an outcome means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It worked.
    Success,
    /// It failed: a circuit counts it, a retry may follow, the job ends as failed.
    Failure,
    /// It says nothing about the service: a circuit does not count it, no retry follows.
    Ignored,
}

/// Tells successes from failures.
///
/// Any `Fn(&Result<Response, Error>) -> Outcome` is a classifier. It runs outside every lock.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not classify a `Result<{Response}, {Error}>`, which is what the service gives",
    label = "classifies no `Result<{Response}, {Error}>`",
    note = "a classifier implements `Classify<Response, Error>` or is a closure `Fn(&Result<Response, Error>) -> Outcome`, of \
            the types of the service inside the layer"
)]
pub trait Classify<Response, Error> {
    /// What this result means.
    fn classify(&self, result: &Result<Response, Error>) -> Outcome;

    /// How long the service asks to be left alone, as by HTTP's `Retry-After`. Asked only of failures. Default: it
    /// asks for nothing.
    fn retry_after(&self, result: &Result<Response, Error>) -> Option<Duration> {
        let _ = result;
        None
    }

    /// What is wrong with this result, for events, logs and an open circuit: "the server answered
    /// 503", say. Asked only of failures, at most once by each layer. It is written as it is, up to
    /// 1 KiB of it.
    ///
    /// Default: `None`, which stands for the error's own text and that of its causes
    /// ([`describe_error`](crate::describe_error)), and for a general sentence where the
    /// result is a response.
    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        let _ = result;
        None
    }

    /// Whether this classifier looks at responses. Where it does not, an `Ok` with which a layer
    /// inside answered a call that it stopped itself counts as what that layer did.
    ///
    /// Default: `true`; only [`ErrorsAsFailures`] says `false`.
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

/// What the classifier says of this failure, bounded.
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
