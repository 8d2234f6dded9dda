//! `ResumeLayer`, and `RetryLayer::resume`.

use std::{fmt, time::Duration};

use tower_layer::Layer;

use super::{hook::ResumeBody, policy::RangeRequests};
use crate::{
    RetryLayer,
    http::{drain::DrainBody, keep::KeepBody, retry::BudgetByAuthority},
    retry::{
        Backoff, Jitter, Retry, RetryBudget,
        hook::{HookSet, KeepOutcome, LayerRetries, Unchanged},
    },
};

type ResumeHooks =
    HookSet<KeepBody, KeepOutcome, BudgetByAuthority, LayerRetries, Unchanged, ResumeBody>;

/// Resumes downloads that break off, without retries of other failures.
///
/// A retry already has all that this layer needs: with a [`RetryLayer::http`], call
/// [`resume`](RetryLayer::resume) there instead. See the [module](crate::http::resume) for what is
/// resumed.
///
/// ```
/// use std::time::Duration;
///
/// use tower_keep::{ResumeLayer, retry::Backoff};
///
/// let resume = ResumeLayer::new()
///     .max_resumptions(5)
///     .backoff(Backoff::exponential(Duration::from_secs(1)));
/// # let _ = resume;
/// ```
///
/// | setting | default |
/// |---|---|
/// | [`max_resumptions`](Self::max_resumptions): in a row, without a byte in between | 3 |
/// | [`backoff`](Self::backoff), [`jitter`](Self::jitter) | up to 100, 200 and 400 ms, random |
/// | [`max_requested_delay`](Self::max_requested_delay) | 60 s |
/// | [`budget`](Self::budget) | for each server 20 % of its calls, at least 30 in 10 s |
#[derive(Clone)]
pub struct ResumeLayer {
    retry: RetryLayer<RangeRequests, ResumeHooks>,
}

impl ResumeLayer {
    /// A layer with the default settings.
    #[must_use]
    pub fn new() -> Self {
        let http = RetryLayer::http().resume();
        Self {
            retry: http.with_policy(RangeRequests),
        }
    }

    /// The maximum number of range requests in a row that bring no byte. Default: 3.
    ///
    /// Each byte that arrives resets the count and the backoff. So this does not limit the whole
    /// download: the [`budget`](Self::budget) and an overall limit outside do.
    #[must_use]
    pub fn max_resumptions(self, max_resumptions: u32) -> Self {
        self.change(|retry| retry.max_retries(max_resumptions))
    }

    /// The waits before range requests. Default: exponential from 100 ms, at most 20 s.
    ///
    /// # Panics
    ///
    /// If the base delay is above 20 s; or if the backoff is not exponential and the
    /// [`jitter`](Self::jitter) is [`Decorrelated`](Jitter::Decorrelated).
    #[must_use]
    #[track_caller]
    pub fn backoff(self, backoff: Backoff) -> Self {
        let retry = self.retry.backoff(backoff);
        Self { retry }
    }

    /// How each wait is randomized. Default: [`Full`](Jitter::Full).
    ///
    /// # Panics
    ///
    /// If it is [`Decorrelated`](Jitter::Decorrelated) and the backoff is not exponential.
    #[must_use]
    #[track_caller]
    pub fn jitter(self, jitter: Jitter) -> Self {
        let retry = self.retry.jitter(jitter);
        Self { retry }
    }

    /// The longest delay that the server may request, as with `Retry-After`. Default: 60 s.
    #[must_use]
    pub fn max_requested_delay(self, max_requested_delay: Duration) -> Self {
        self.change(|retry| retry.max_requested_delay(max_requested_delay))
    }

    /// Limits range requests to a share of the calls. All layers with this budget share it.
    /// Default: each server has its own.
    #[must_use]
    pub fn budget(self, budget: RetryBudget) -> Self {
        self.change(|retry| retry.budget(budget))
    }

    fn change(
        self,
        change: impl FnOnce(
            RetryLayer<RangeRequests, ResumeHooks>,
        ) -> RetryLayer<RangeRequests, ResumeHooks>,
    ) -> Self {
        Self {
            retry: change(self.retry),
        }
    }
}

impl Default for ResumeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ResumeLayer {
    type Service = Retry<S, RangeRequests, ResumeHooks>;

    fn layer(&self, inner: S) -> Self::Service {
        self.retry.layer(inner)
    }
}

impl fmt::Debug for ResumeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResumeLayer").field(&self.retry).finish()
    }
}

/// Only for HTTP: downloads.
impl<P, C, H, B, N, A> RetryLayer<P, HookSet<C, H, B, N, A, DrainBody>> {
    /// Also resumes a download that breaks off: see [the rules](crate::http::resume). Default: the
    /// error of a response body is outside the retry.
    ///
    /// The range requests are attempts of this layer. They share its backoff, its budget, its
    /// maximum, its hints, its limits and its hooks. Each byte that arrives resets the number of
    /// attempts, but not [`max_total_time`](Self::max_total_time).
    ///
    /// Its body is a [`ResumedBody`](crate::http::resume::ResumedBody), and the job of the call ends
    /// with it. The hook [`on_give_up`](Self::on_give_up) also sees the outcome of a range request;
    /// what it returns must still be the rest of the body.
    ///
    /// ```
    /// use tower_keep::{Pipeline, RetryLayer};
    ///
    /// let pipeline = Pipeline::http_client().retry(RetryLayer::http().max_retries(5).resume());
    /// # let _ = pipeline;
    /// ```
    ///
    /// The error of the inner service must be `Into<BoxError>`. With reqwest, the inner service must
    /// be `Send` and `'static`.
    #[must_use]
    #[allow(clippy::type_complexity, reason = "it replaces one of six hooks")]
    pub fn resume(self) -> RetryLayer<P, HookSet<C, H, B, N, A, ResumeBody>> {
        self.with_hooks(|hooks| hooks.discard_outcome(ResumeBody))
    }
}
