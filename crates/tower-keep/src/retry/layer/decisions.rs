//! Settings of `RetryLayer` that select what to retry: policies, closures, classifiers.

use std::time::Duration;

use super::RetryLayer;
use crate::{
    classify::{Classify, WithRetryAfter},
    retry::policy::{Attempt, Decision, ErrorsIf, First, OnClass, WithRequest},
    unshare::Unshare,
};

/// What to retry. `should_retry`, `classify`, `decide_with`, `decide_with_request` and `policy`
/// replace each other: the last call counts. `decide_first` and `retry_after` extend what is set so
/// far.
impl<P, X> RetryLayer<P, X> {
    /// Selects the errors to retry. Default: all errors.
    ///
    /// The closure sees errors only. If a time limit answers with a response, the attempt is not
    /// retried. [`decide_with`](Self::decide_with) recognizes such an attempt by
    /// [`Attempt::timed_out`](crate::retry::Attempt::timed_out).
    #[must_use]
    pub fn should_retry<F, Error>(self, should_retry: F) -> RetryLayer<ErrorsIf<F>, X>
    where
        F: Fn(&Error) -> bool,
    {
        self.policy(ErrorsIf(should_retry))
    }

    /// Retries the failures of this classifier, which can be errors or responses.
    ///
    /// The wait is the classifier's [`retry_after`](Classify::retry_after), or else the backoff.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> RetryLayer<OnClass<D>, X>
    where
        D: Classify<Response, Error>,
    {
        self.policy(OnClass(classify))
    }

    /// Decides with a closure whether and when to retry. It sees the outcome, the attempt and its
    /// job.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use tower_keep::{RetryLayer, retry::Decision};
    ///
    /// let retry = RetryLayer::new().decide_with(|result: &Result<u32, io::Error>, attempt| match result {
    ///     Ok(_) => Decision::Stop,
    ///     // One quick retry.
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

    /// Decides with two closures, so that the decision can depend on the request.
    ///
    /// Before the first attempt, `see` keeps data from the request. `decide` receives this data,
    /// the outcome and the attempt.
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

    /// Lets a closure decide first. With `None` the policy decides that is set so far.
    ///
    /// Use it to change one case of a ready-made policy, such as that of
    /// [`http`](RetryLayer::http). Call this method after setting the policy, and after its own
    /// settings, such as [`retry_status`](Self::retry_status).
    ///
    /// The closure can also demand a retry that the policy would not risk, such as that of a POST. A
    /// request that cannot be kept is never repeated. What a response means for the
    /// [log](crate::retry::Policy::is_failure) is still up to the policy.
    ///
    /// ```
    /// use http::{Response, StatusCode};
    /// use tower_keep::{BoxError, RetryLayer, retry::Decision};
    ///
    /// // A 401 is repeated once. All else is as always.
    /// let retry = RetryLayer::http().decide_first(
    ///     |outcome: &Result<Response<String>, BoxError>, attempt| match outcome {
    ///         Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
    ///             Some(if attempt.number() == 1 { Decision::Retry } else { Decision::Stop })
    ///         }
    ///         _ => None,
    ///     },
    /// );
    /// # let _ = retry;
    /// ```
    #[must_use]
    pub fn decide_first<F, Response, Error>(self, decide: F) -> RetryLayer<First<F, P>, X>
    where
        F: Fn(&Result<Response, Error>, &Attempt<'_>) -> Option<Decision>,
    {
        self.with_policy(|policy| First {
            decide,
            otherwise: policy,
        })
    }

    /// Decides with your own type that implements [`Policy`](crate::retry::Policy).
    ///
    /// For a closure use [`decide_with`](Self::decide_with): only there can the compiler infer its
    /// argument types.
    #[must_use]
    pub fn policy<Q>(self, policy: Q) -> RetryLayer<Q, X> {
        self.with_policy(|_| policy)
    }

    /// Reads from the outcome the delay that the service requests, as with HTTP's `Retry-After`.
    ///
    /// `None` falls back to the classifier's [hint](Classify::retry_after), then to the backoff.
    /// The closure extends the policy that is set so far, so call this method after setting the
    /// policy. It runs if the policy decides to retry, except with [`RetryIn`](Decision::RetryIn).
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

    pub(crate) fn with_policy<Q>(self, change: impl FnOnce(P) -> Q) -> RetryLayer<Q, X> {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: change(self.policy),
            hooks: self.hooks,
        }
    }
}
