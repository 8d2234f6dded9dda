use std::{fmt, time::Duration};

use super::{
    backoff::Backoff,
    policy::{ByClone, CloneRequest, CloneWith, ErrorsIf, OnClass, OnError},
};
use crate::classify::Classify;

/// Tries again after a failure.
#[derive(Clone)]
pub struct RetryLayer<P = OnError, C = ByClone> {
    pub(super) max_retries: u32,
    pub(super) backoff: Backoff,
    pub(super) policy: P,
    pub(super) clone_request: C,
}

impl RetryLayer {
    /// Three retries after 1, 2 and 4 s, of every error.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_retries: 3,
            backoff: Backoff {
                base: Duration::from_secs(1),
                max: Duration::from_secs(30),
            },
            policy: OnError,
            clone_request: ByClone,
        }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<P, C> RetryLayer<P, C> {
    /// How many retries may follow the first attempt. Default: 3, which makes 4 attempts.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// The wait before the first retry; it doubles with each. Default: 1 s.
    #[must_use]
    pub fn base_delay(mut self, base_delay: Duration) -> Self {
        self.backoff.base = base_delay;
        self
    }

    /// No wait is longer than this. Default: 30 s.
    #[must_use]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.backoff.max = max_delay;
        self
    }

    /// Which errors to retry. Default: all of them.
    #[must_use]
    pub fn should_retry<F, Error>(self, should_retry: F) -> RetryLayer<ErrorsIf<F>, C>
    where
        F: Fn(&Error) -> bool,
    {
        self.policy(ErrorsIf(should_retry))
    }

    /// Retries what this classifier calls a failure, so that a response can be retried too.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> RetryLayer<OnClass<D>, C>
    where
        D: Classify<Response, Error>,
    {
        self.policy(OnClass(classify))
    }

    /// Decides by a policy of one's own, which can also say how long to wait.
    #[must_use]
    pub fn policy<Q>(self, policy: Q) -> RetryLayer<Q, C> {
        RetryLayer {
            max_retries: self.max_retries,
            backoff: self.backoff,
            policy,
            clone_request: self.clone_request,
        }
    }

    /// How to repeat a request that is not `Clone`; what gives `None` is tried once. A path will do, such as
    /// `reqwest::Request::try_clone`.
    #[must_use]
    pub fn clone_with<F, Request>(self, clone: F) -> RetryLayer<P, CloneWith<F>>
    where
        F: Fn(&Request) -> Option<Request>,
        CloneWith<F>: CloneRequest<Request>,
    {
        RetryLayer {
            max_retries: self.max_retries,
            backoff: self.backoff,
            policy: self.policy,
            clone_request: CloneWith(clone),
        }
    }

    /// The sum of all waits, if every retry is used.
    #[must_use]
    pub fn total_delay(&self) -> Duration {
        self.backoff.total(self.max_retries)
    }

    /// How many of the retries have waits that sum up to less than `limit`.
    #[cfg(feature = "pipeline")]
    pub(crate) fn fitting_retries(&self, limit: Duration) -> u32 {
        self.backoff.fitting(self.max_retries, limit)
    }
}

impl<P, C> fmt::Debug for RetryLayer<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("max_retries", &self.max_retries)
            .field("base_delay", &self.backoff.base)
            .field("max_delay", &self.backoff.max)
            .finish_non_exhaustive()
    }
}
