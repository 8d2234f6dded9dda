//! What to retry: the settings of the decision.

use std::time::Duration;

use super::RetryLayer;
use crate::{
    classify::{Classify, WithRetryAfter},
    retry::policy::{Attempt, Decision, ErrorsIf, OnClass, WithRequest},
    unshare::Unshare,
};

/// What to retry. Of `should_retry`, `classify`, `decide_with`, `decide_with_request` and `policy` the
/// last one called decides.
impl<P, X> RetryLayer<P, X> {
    /// Which errors to retry. Default: all of them.
    ///
    /// The closure sees errors only. An attempt whose limit answered with a response is then not
    /// retried: a [`decide_with`](Self::decide_with) sees that one as
    /// [`Attempt::timed_out`](crate::retry::Attempt::timed_out).
    #[must_use]
    pub fn should_retry<F, Error>(self, should_retry: F) -> RetryLayer<ErrorsIf<F>, X>
    where
        F: Fn(&Error) -> bool,
    {
        self.policy(ErrorsIf(should_retry))
    }

    /// Retries what this classifier calls a failure, so that a response can be retried too, and waits as long as its
    /// [`retry_after`](Classify::retry_after) says.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> RetryLayer<OnClass<D>, X>
    where
        D: Classify<Response, Error>,
    {
        self.policy(OnClass(classify))
    }

    /// Decides by a closure that sees the outcome, the attempt and its job, and says whether and when to try again.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use tower_keep::{RetryLayer, retry::Decision};
    ///
    /// let retry = RetryLayer::new().decide_with(|result: &Result<u32, io::Error>, attempt| match result {
    ///     Ok(_) => Decision::Stop,
    ///     // Another try soon, but only one.
    ///     Err(error) if error.kind() == io::ErrorKind::TimedOut && attempt.number() == 1 => {
    ///         Decision::RetryIn(Duration::from_millis(10))
    ///     }
    ///     Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Decision::Never,
    ///     Err(_) => Decision::Retry,
    /// });
    /// ```
    #[must_use]
    pub fn decide_with<F, Response, Error>(self, decide: F) -> RetryLayer<F, X>
    where
        F: Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision,
    {
        self.policy(decide)
    }

    /// Decides by two closures: `see` keeps of the request what the decision needs, before the
    /// first attempt, and `decide` sees that together with the outcome and the attempt.
    ///
    /// ```
    /// use tower_keep::{BoxError, RetryLayer, retry::Decision};
    ///
    /// struct Request {
    ///     is_idempotent: bool,
    /// }
    ///
    /// let retry = RetryLayer::new().decide_with_request(
    ///     |request: &Request| request.is_idempotent,
    ///     |is_idempotent: &bool, result: &Result<String, BoxError>, _| match result {
    ///         Err(_) if *is_idempotent => Decision::Retry,
    ///         _ => Decision::Stop,
    ///     },
    /// );
    /// ```
    #[must_use]
    pub fn decide_with_request<V, D, Seen, Request, Response, Error>(
        self,
        see: V,
        decide: D,
    ) -> RetryLayer<WithRequest<V, D>, X>
    where
        V: Fn(&Request) -> Seen,
        D: Fn(&Seen, &Result<Response, Error>, &Attempt<'_>) -> Decision,
    {
        self.policy(WithRequest { see, decide })
    }

    /// Decides by a [`Policy`](crate::retry::Policy) of your own, a type that implements the trait.
    ///
    /// A closure goes to [`decide_with`](Self::decide_with): only there can the compiler infer the types of its
    /// arguments.
    #[must_use]
    pub fn policy<Q>(self, policy: Q) -> RetryLayer<Q, X> {
        self.with_policy(|_| policy)
    }

    /// How long the service asks to be left alone before a retry, as by HTTP's `Retry-After`; `None`
    /// leaves it to the classifier's own [hint](Classify::retry_after), and then to the backoff.
    ///
    /// It is asked where the policy set so far says to retry, so call it after that. A policy's
    /// [`RetryIn`](Decision::RetryIn) stands.
    #[must_use]
    pub fn retry_after<F, Response, Error>(
        self,
        retry_after: F,
    ) -> RetryLayer<WithRetryAfter<P, F>, X>
    where
        F: Fn(&Result<Response, Error>) -> Option<Duration>,
    {
        self.with_policy(|policy| WithRetryAfter {
            classify: policy,
            retry_after,
        })
    }

    fn with_policy<Q>(self, change: impl FnOnce(P) -> Q) -> RetryLayer<Q, X> {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: change(self.policy),
            hooks: self.hooks,
        }
    }
}
