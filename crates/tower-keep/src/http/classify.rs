//! Classifiers of HTTP results for Retry, CircuitBreaker and Log, from one table.

use std::{borrow::Cow, error::Error, time::Duration};

use super::{
    error_kind::{ErrorKind, as_error, status_of},
    hint::{RetryHint, StandardHints},
    message::HttpResponse,
    status::Answer,
};
use crate::{
    Rejection,
    classify::{Classify, Outcome},
    error_text::describe_error,
    job::verdict,
};

/// What a result says: an answer of the server, or an error on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Answer(Answer),
    Error(ErrorKind),
    /// A layer of this library stopped the call, or a limit ended it.
    Rejected(Rejection),
}

impl Finding {
    pub(super) fn of<T: HttpResponse, E: 'static>(result: &Result<T, E>) -> Self {
        match result {
            Ok(response) => Self::Answer(Answer::of(response)),
            Err(error) => match as_error(error) {
                Some(error) => Self::of_error(error),
                None => Self::Error(ErrorKind::PossiblyProcessed),
            },
        }
    }

    fn of_error(error: &(dyn Error + 'static)) -> Self {
        match Rejection::of(error) {
            // The last failure is its source.
            None | Some(Rejection::GaveUp { .. }) => {}
            Some(rejection) => return Self::Rejected(rejection),
        }
        match status_of(error) {
            Some(status) => Self::Answer(Answer::Http(status)),
            None => Self::Error(ErrorKind::of(error)),
        }
    }
}

/// The description of a failure: the status, or the error with its sources. `None` if a layer of
/// this library made the response: the server did not give that answer.
pub(super) fn describe<T: HttpResponse, E: 'static>(
    result: &Result<T, E>,
) -> Option<Cow<'static, str>> {
    match result {
        Ok(_) if verdict::read().is_some_and(|verdict| verdict.made_response()) => None,
        Ok(response) => Some(Answer::of(response).describe().into()),
        Err(error) => as_error(error).map(|error| describe_error(error).into()),
    }
}

/// Counts what speaks against the health of the server. Made by
/// [`CircuitBreakerLayer::http`](crate::CircuitBreakerLayer::http).
#[derive(Clone, Copy, Debug, Default)]
#[allow(unreachable_pub, reason = "it is in the types of a layer")]
pub struct ServerFailures;

impl<T: HttpResponse, E: 'static> Classify<T, E> for ServerFailures {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match Finding::of(result) {
            Finding::Answer(answer) if answer.is_server_failure() => Outcome::Failure,
            Finding::Answer(answer) if answer.is_rate_limit() => Outcome::Ignored,
            Finding::Answer(_) => Outcome::Success,
            Finding::Error(ErrorKind::Permanent) => Outcome::Ignored,
            Finding::Error(_) | Finding::Rejected(Rejection::TimedOut) => Outcome::Failure,
            Finding::Rejected(_) => Outcome::Ignored,
        }
    }

    fn retry_after(&self, result: &Result<T, E>) -> Option<Duration> {
        let response = result.as_ref().ok()?;
        let headers = response.headers();
        StandardHints
            .hint(response.status(), headers)?
            .delay(headers)
    }

    fn describe(&self, result: &Result<T, E>) -> Option<Cow<'static, str>> {
        describe(result)
    }
}

/// Fails the jobs that got a server error. Made by [`LogLayer::http`](crate::LogLayer::http).
#[derive(Clone, Copy, Debug, Default)]
#[allow(unreachable_pub, reason = "it is in the types of a layer")]
pub struct ServerErrors;

impl<T: HttpResponse, E: 'static> Classify<T, E> for ServerErrors {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match Finding::of(result) {
            Finding::Answer(answer) if !answer.fails_job() => Outcome::Ignored,
            _ => Outcome::Failure,
        }
    }

    fn describe(&self, result: &Result<T, E>) -> Option<Cow<'static, str>> {
        describe(result)
    }
}
