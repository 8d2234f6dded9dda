//! Hooks of `RetryLayer`: on giving up, before each attempt, and settings per request.

#![allow(
    clippy::type_complexity,
    reason = "each setter replaces one of six hooks"
)]

use std::future::Future;

use super::RetryLayer;
use crate::{
    for_request::ForRequest,
    retry::{
        before_attempt::{ChangeWith, PrepareWith, PrepareWithOutcome},
        budget::{BudgetBy, ChooseBudget, RetryBudget},
        give_up::{GaveUp, GiveUpWith, OnGiveUp},
        hooks::HookSet,
        keep_request::{CloneWith, KeepRequest},
        max_retries::{ChooseRetries, RetriesBy},
        policy::Attempt,
    },
    unshare::Unshare,
};

/// On giving up, and the budget per request.
impl<P, C, H, B, N, A, D> RetryLayer<P, HookSet<C, H, B, N, A, D>> {
    /// A hook that can replace the last outcome, for example by a fallback or by an error with the
    /// number of attempts. Default: the last outcome is returned unchanged.
    ///
    /// | last decision of the policy | does the hook run? |
    /// |---|---|
    /// | a retry that the layer did not grant | yes |
    /// | [`Never`](crate::retry::Decision::Never) | yes, with the reason `Forbidden`; an `Ok` stays a success, unless [`is_failure`](crate::retry::Policy::is_failure) |
    /// | [`Stop`](crate::retry::Decision::Stop) on an `Err` | yes |
    /// | [`Stop`](crate::retry::Decision::Stop) on an `Ok` | no, unless [`is_failure`](crate::retry::Policy::is_failure) |
    /// | the policy did not run | no |
    ///
    /// If the hook replaces an `Err` by an `Ok`, the job succeeds. If it replaces a failed response
    /// by a good one, it must call [`recovered`](crate::reject::recovered). Otherwise the job
    /// fails.
    ///
    /// ```
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Rejection, RetryLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let broken = service_fn(|(): ()| async { Err::<(), BoxError>("broken".into()) });
    /// let retry = RetryLayer::new()
    ///     .on_give_up(|outcome: Result<(), BoxError>, why| outcome.map_err(|error| why.caused_by(error).into()));
    /// let error = retry.layer(broken).oneshot(()).await.unwrap_err();
    /// assert_eq!(error.to_string(), "gave up after 4 attempts: no retries left");
    /// assert!(matches!(Rejection::of(&*error), Some(Rejection::GaveUp { attempts: 4, .. })));
    /// # });
    /// ```
    #[must_use]
    pub fn on_give_up<F, Response, Error>(
        self,
        hook: F,
    ) -> RetryLayer<P, HookSet<C, GiveUpWith<F>, B, N, A, D>>
    where
        F: Fn(Result<Response, Error>, GaveUp) -> Result<Response, Error>,
        GiveUpWith<F>: OnGiveUp<Response, Error>,
    {
        self.with_hooks(|hooks| hooks.on_give_up(GiveUpWith(hook)))
    }

    /// Chooses the budget per request, usually from [`RetryBudgets`](crate::retry::RetryBudgets) by
    /// host.
    ///
    /// `None` falls back to the layer's [`budget`](Self::budget), if it has one.
    #[must_use]
    pub fn budget_by<F, Request>(
        self,
        budget: F,
    ) -> RetryLayer<P, HookSet<C, H, BudgetBy<F>, N, A, D>>
    where
        F: Fn(&Request) -> Option<RetryBudget>,
        BudgetBy<F>: ChooseBudget<Request>,
    {
        self.with_hooks(|hooks| hooks.choose_budget(BudgetBy(ForRequest(budget))))
    }
}

/// Settings per request, and hooks before each attempt.
impl<P, C, H, B, N, A, D> RetryLayer<P, HookSet<C, H, B, N, A, D>> {
    /// Clones a request for another attempt. `None` means a single attempt. Default: the request's
    /// `Clone`.
    ///
    /// Use it for requests that are not `Clone`, or that must not always be repeated. Repeat only
    /// idempotent HTTP requests: the server may already have executed a `POST` that failed.
    ///
    /// ```
    /// use http::Request;
    /// use tower_keep::RetryLayer;
    ///
    /// let retry = RetryLayer::for_clients().clone_with(|request: &Request<String>| {
    ///     request.method().is_idempotent().then(|| request.clone())
    /// });
    /// ```
    #[must_use]
    pub fn clone_with<F, Request>(
        self,
        clone: F,
    ) -> RetryLayer<P, HookSet<CloneWith<F>, H, B, N, A, D>>
    where
        F: Fn(&Request) -> Option<Request>,
        CloneWith<F>: KeepRequest<Request>,
    {
        self.with_hooks(|hooks| hooks.keep_request(CloneWith(clone)))
    }

    /// Maximum number of retries per request. `None` falls back to the layer's
    /// [`max_retries`](Self::max_retries).
    ///
    /// ```
    /// use http::Request;
    /// use tower_keep::RetryLayer;
    ///
    /// #[derive(Clone, Copy)]
    /// struct MaxRetries(u32);
    ///
    /// let retry = RetryLayer::for_clients().max_retries_by(|request: &Request<String>| {
    ///     request.extensions().get().map(|MaxRetries(count)| *count)
    /// });
    /// # let _ = retry;
    /// ```
    #[must_use]
    pub fn max_retries_by<F, Request>(
        self,
        max_retries: F,
    ) -> RetryLayer<P, HookSet<C, H, B, RetriesBy<F>, A, D>>
    where
        F: Fn(&Request) -> Option<u32>,
        RetriesBy<F>: ChooseRetries<Request>,
    {
        self.with_hooks(|hooks| hooks.choose_retries(RetriesBy(ForRequest(max_retries))))
    }

    /// Changes the request before each attempt, including the first. Default: no change.
    ///
    /// Typical uses are the attempt number in a header, or a signature with a timestamp. The
    /// [`Attempt`] is the new attempt: its [`number`](Attempt::number) is 1 before the first.
    ///
    /// - The hook runs when the service is ready, right before the call.
    /// - Each attempt starts from the original request, without earlier changes of the hook.
    /// - The hook also runs for a request that cannot be repeated.
    /// - Inner layers see the changed request. With
    ///   [`TimeoutLayer::limit_by`](crate::TimeoutLayer::limit_by), the limit of an attempt can
    ///   depend on its number.
    /// - If an inner layer begins the job, the job does not exist yet before the first attempt.
    /// - To await something, use [`before_attempt_async`](Self::before_attempt_async).
    ///
    /// ```
    /// use http::{HeaderValue, Request};
    /// use tower_keep::RetryLayer;
    ///
    /// let retry = RetryLayer::for_clients().before_attempt(|request: &mut Request<String>, attempt| {
    ///     request.headers_mut().insert("attempt", HeaderValue::from(attempt.number()));
    /// });
    /// # let _ = retry;
    /// ```
    #[must_use]
    pub fn before_attempt<F, Request>(
        self,
        hook: F,
    ) -> RetryLayer<P, HookSet<C, H, B, N, ChangeWith<F>, D>>
    where
        F: Fn(&mut Request, &Attempt<'_>),
    {
        self.with_hooks(|hooks| hooks.before_attempt(ChangeWith(ForRequest(hook))))
    }

    /// Changes the request before each attempt, including the first, in a future that returns it.
    ///
    /// Use it for a token that may need to be fetched. As with
    /// [`before_attempt`](Self::before_attempt), each attempt starts from the original request.
    ///
    /// - An error of the hook fails the attempt: the policy decides whether to retry.
    /// - Limits outside the retry include the hook. The limit of an attempt, inside the retry, does
    ///   not.
    /// - Dropping the call drops the hook's future.
    /// - The retry is always ready. It waits for the service inside the call, after the hook, so
    ///   that the hook occupies no ready service. If `poll_ready` fails, the attempt fails.
    /// - The first attempt goes to the called instance or a clone of it.
    ///
    /// ```
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, RetryLayer};
    ///
    /// async fn fetch_token() -> Result<String, BoxError> {
    ///     Ok("secret".to_owned())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let retry = RetryLayer::for_clients().before_attempt_async(|page: String, _| async move {
    ///     Ok::<_, BoxError>(format!("{page} with {}", fetch_token().await?))
    /// });
    /// let echo = service_fn(|request: String| async move { Ok::<_, BoxError>(request) });
    /// assert_eq!(retry.layer(echo).oneshot("page 1".to_owned()).await.unwrap(), "page 1 with secret");
    /// # });
    /// ```
    #[must_use]
    pub fn before_attempt_async<F, Prepare, Request, Error>(
        self,
        hook: F,
    ) -> RetryLayer<P, HookSet<C, H, B, N, PrepareWith<F>, D>>
    where
        F: Fn(Request, &Attempt<'_>) -> Prepare,
        Prepare: Future<Output = Result<Request, Error>>,
    {
        self.with_hooks(|hooks| hooks.before_attempt(PrepareWith(hook)))
    }

    /// As [`before_attempt_async`](Self::before_attempt_async), and the hook also receives data
    /// from the previous outcome.
    ///
    /// `see` reads each outcome that another attempt follows. Its result goes to the hook; before
    /// the first attempt the hook gets `None`. The outcome itself is not kept during the wait.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// use http::{Request, Response, StatusCode, header::AUTHORIZATION};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, RetryLayer, retry::{Attempt, Decision}};
    ///
    /// /// The cached token, or a new token if the server refused the cached one.
    /// async fn token(is_refused: bool) -> Result<&'static str, BoxError> {
    ///     Ok(if is_refused { "new" } else { "old" })
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let unauthorized = |outcome: &Result<Response<()>, BoxError>| {
    ///     outcome.as_ref().is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
    /// };
    /// let retry = RetryLayer::for_clients()
    ///     .decide_with(move |outcome: &Result<Response<()>, BoxError>, attempt: &Attempt<'_>| {
    ///         if unauthorized(outcome) && attempt.number() == 1 { Decision::Retry } else { Decision::Stop }
    ///     })
    ///     .before_attempt_async_with_outcome(
    ///         unauthorized,
    ///         |mut request: Request<()>, _, was_refused| async move {
    ///             let token = token(was_refused == Some(true)).await?;
    ///             request.headers_mut().insert(AUTHORIZATION, token.parse()?);
    ///             Ok::<_, BoxError>(request)
    ///         },
    ///     );
    /// let server = service_fn(|request: Request<()>| async move {
    ///     let mut response = Response::new(());
    ///     if request.headers()[AUTHORIZATION] != "new" {
    ///         *response.status_mut() = StatusCode::UNAUTHORIZED;
    ///     }
    ///     Ok::<_, BoxError>(response)
    /// });
    /// let response = retry.layer(server).oneshot(Request::new(())).await.unwrap();
    /// assert_eq!(response.status(), StatusCode::OK);
    /// # });
    /// ```
    #[must_use]
    pub fn before_attempt_async_with_outcome<V, Seen, F, Prepare, Request, Response, Error>(
        self,
        see: V,
        hook: F,
    ) -> RetryLayer<P, HookSet<C, H, B, N, PrepareWithOutcome<V, F>, D>>
    where
        V: Fn(&Result<Response, Error>) -> Seen,
        F: Fn(Request, &Attempt<'_>, Option<Seen>) -> Prepare,
        Prepare: Future<Output = Result<Request, Error>>,
    {
        self.with_hooks(|hooks| hooks.before_attempt(PrepareWithOutcome { see, prepare: hook }))
    }
}

impl<P, X> RetryLayer<P, X> {
    pub(crate) fn with_hooks<Y>(self, change: impl FnOnce(X) -> Y) -> RetryLayer<P, Y> {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            hooks: change(self.hooks),
        }
    }
}
