use std::{fmt, time::Duration};

use crate::classify::{Classify, Outcome};

/// Whether and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// This result is final.
    Stop,
    /// Try again after the backoff.
    Retry,
    /// Try again after this long, as a server may ask for; clamped to the layer's `max_delay`.
    RetryAfter(Duration),
}

/// Decides whether and when to try again. Asked only while retries are left.
///
/// It runs in the job's scope where a layer around the retry tracks the job, so that
/// [`Job::current().remaining()`](crate::Job::remaining) tells it how much time is left.
pub trait Policy<Response, Error> {
    /// What to do after this result of this attempt, counted from 1.
    fn decide(&self, result: &Result<Response, Error>, attempt: u32) -> Decision;
}

/// Retries every error. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnError;

impl<Response, Error> Policy<Response, Error> for OnError {
    #[inline(always)]
    fn decide(&self, result: &Result<Response, Error>, _: u32) -> Decision {
        if result.is_err() {
            Decision::Retry
        } else {
            Decision::Stop
        }
    }
}

/// Retries the errors that a closure picks. Made by [`RetryLayer::should_retry`](super::RetryLayer::should_retry).
#[derive(Clone, Copy)]
pub struct ErrorsIf<F>(pub(super) F);

impl<F, Response, Error> Policy<Response, Error> for ErrorsIf<F>
where
    F: Fn(&Error) -> bool,
{
    fn decide(&self, result: &Result<Response, Error>, _: u32) -> Decision {
        match result {
            Err(error) if (self.0)(error) => Decision::Retry,
            _ => Decision::Stop,
        }
    }
}

/// Retries what a classifier calls a failure. Made by [`RetryLayer::classify`](super::RetryLayer::classify).
#[derive(Clone, Copy)]
pub struct OnClass<C>(pub(super) C);

impl<C, Response, Error> Policy<Response, Error> for OnClass<C>
where
    C: Classify<Response, Error>,
{
    fn decide(&self, result: &Result<Response, Error>, _: u32) -> Decision {
        if self.0.classify(result) == Outcome::Failure {
            Decision::Retry
        } else {
            Decision::Stop
        }
    }
}

/// How a request is repeated.
pub trait CloneRequest<Request> {
    /// Another request like this one; `None` if it cannot be repeated, and is then tried once.
    fn clone_request(&self, request: &Request) -> Option<Request>;
}

/// By its `Clone`. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

impl<Request: Clone> CloneRequest<Request> for ByClone {
    #[inline(always)]
    fn clone_request(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

/// By a function. Made by [`RetryLayer::clone_with`](super::RetryLayer::clone_with).
#[derive(Clone, Copy)]
pub struct CloneWith<F>(pub(super) F);

impl<F, Request> CloneRequest<Request> for CloneWith<F>
where
    F: Fn(&Request) -> Option<Request>,
{
    fn clone_request(&self, request: &Request) -> Option<Request> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ErrorsIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorsIf").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for OnClass<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnClass").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for CloneWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloneWith").finish_non_exhaustive()
    }
}
