//! Closures that see the end of the retries, or the request of a call or an attempt.

#![allow(
    clippy::type_complexity,
    reason = "each setter replaces one of five hooks"
)]

use std::future::Future;

use super::RetryLayer;
use crate::{
    for_request::ForRequest,
    retry::{
        before_attempt::{ChangeWith, PrepareWith, PrepareWithOutcome},
        budget::{BudgetBy, ChooseBudget, RetryBudget},
        clone_request::{CloneRequest, CloneWith},
        give_up::{GaveUp, GiveUpWith, OnGiveUp},
        hooks::HookSet,
        max_retries::{ChooseRetries, RetriesBy},
        policy::Attempt,
    },
    unshare::Unshare,
};

/// When it gives up.
impl<P, C, H, B, N, A> RetryLayer<P, HookSet<C, H, B, N, A>> {
    /// A hook that sees the last outcome and why there is no other attempt, and may replace that
    /// outcome: by an error that says how many attempts there were, say, or by a fallback.
    ///
    /// It runs where the policy wanted another attempt and got none, or stopped on an `Err`; never
    /// after an `Ok` for which the policy said [`Stop`](crate::retry::Decision::Stop), and not where the policy is
    /// not asked. [`Never`](crate::retry::Decision::Never) is a reason too, `Forbidden`, and makes no failure of an
    /// `Ok`. Where it makes an `Ok` of an `Err`, the job succeeds. Where it replaces a response
    /// that the policy called a failure by a good one, it has to say so by
    /// [`recovered`](crate::reject::recovered); otherwise the job ends as failed. Default: the last
    /// outcome is returned unchanged.
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
    ) -> RetryLayer<P, HookSet<C, GiveUpWith<F>, B, N, A>>
    where
        F: Fn(Result<Response, Error>, GaveUp) -> Result<Response, Error>,
        GiveUpWith<F>: OnGiveUp<Response, Error>,
    {
        self.with_hooks(|hooks| hooks.on_give_up(GiveUpWith(hook)))
    }

    /// Chooses the budget by the request, mostly from [`RetryBudgets`](crate::retry::RetryBudgets) by host.
    /// `None` is the layer's own [`budget`](Self::budget), if it has one.
    #[must_use]
    pub fn budget_by<F, Request>(self, budget: F) -> RetryLayer<P, HookSet<C, H, BudgetBy<F>, N, A>>
    where
        F: Fn(&Request) -> Option<RetryBudget>,
        BudgetBy<F>: ChooseBudget<Request>,
    {
        self.with_hooks(|hooks| hooks.choose_budget(BudgetBy(ForRequest(budget))))
    }
}

/// What a request says itself, and what happens to it before each attempt.
impl<P, C, H, B, N, A> RetryLayer<P, HookSet<C, H, B, N, A>> {
    /// How to repeat a request; a request that gives `None` is tried once.
    ///
    /// For a request that is not `Clone`, or that must not always be repeated. Of HTTP requests
    /// repeat only idempotent ones, or a `POST` that failed half-way is done twice:
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
    ) -> RetryLayer<P, HookSet<CloneWith<F>, H, B, N, A>>
    where
        F: Fn(&Request) -> Option<Request>,
        CloneWith<F>: CloneRequest<Request>,
    {
        self.with_hooks(|hooks| hooks.clone_request(CloneWith(clone)))
    }

    /// How many retries the request asks for; `None` is the layer's own [`max_retries`](Self::max_retries).
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
    ) -> RetryLayer<P, HookSet<C, H, B, RetriesBy<F>, A>>
    where
        F: Fn(&Request) -> Option<u32>,
        RetriesBy<F>: ChooseRetries<Request>,
    {
        self.with_hooks(|hooks| hooks.choose_retries(RetriesBy(ForRequest(max_retries))))
    }

    /// Changes the request right before each attempt, the first one too: for the number of the attempt in a header,
    /// say, or a signature that holds the time.
    ///
    /// The [`Attempt`] is the attempt that begins, so that its [`number`](Attempt::number) is 1 before the first. The service
    /// is ready by then. Every attempt starts from the request as it came: what the hook did to it before the last
    /// attempt is not there. A request that cannot be repeated is changed before its one attempt. Where work is to be
    /// waited for, there is [`before_attempt_async`](Self::before_attempt_async). Default: nothing.
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
    ) -> RetryLayer<P, HookSet<C, H, B, N, ChangeWith<F>>>
    where
        F: Fn(&mut Request, &Attempt<'_>),
    {
        self.with_hooks(|hooks| hooks.before_attempt(ChangeWith(ForRequest(hook))))
    }

    /// Prepares the request before each attempt, the first one too, by a future that gives it back: for a token that
    /// may have to be fetched first.
    ///
    /// An error of the hook is the attempt's failure: the policy sees it, and decides whether there is another attempt.
    /// A policy that stops on the hook's error ends the call.
    /// The limits around the retry hold for the hook too, that of an attempt, inside the retry, does not. Dropping the
    /// call drops the hook's future. As [`before_attempt`](Self::before_attempt), each attempt starts from the request
    /// as it came.
    ///
    /// The hook must not hold up a service that is ready. So the retry is then always ready itself: it waits for the
    /// service within the call, after the hook, and a failure of that is the attempt's. The first attempt goes to the
    /// instance that was called, or a clone of it, and later ones as always.
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
    ) -> RetryLayer<P, HookSet<C, H, B, N, PrepareWith<F>>>
    where
        F: Fn(Request, &Attempt<'_>) -> Prepare,
        Prepare: Future<Output = Result<Request, Error>>,
    {
        self.with_hooks(|hooks| hooks.before_attempt(PrepareWith(hook)))
    }

    /// As [`before_attempt_async`](Self::before_attempt_async), by two closures: `see` keeps of an attempt's outcome
    /// what the hook needs before the next one. Before the first attempt that is `None`.
    ///
    /// `see` looks at each outcome that another attempt follows. The outcome itself is dropped before the wait.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// use http::{Request, Response, StatusCode, header::AUTHORIZATION};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, RetryLayer, retry::{Attempt, Decision}};
    ///
    /// /// From memory, or fetched where the one in memory is refused.
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
    ) -> RetryLayer<P, HookSet<C, H, B, N, PrepareWithOutcome<V, F>>>
    where
        V: Fn(&Result<Response, Error>) -> Seen,
        F: Fn(Request, &Attempt<'_>, Option<Seen>) -> Prepare,
        Prepare: Future<Output = Result<Request, Error>>,
    {
        self.with_hooks(|hooks| hooks.before_attempt(PrepareWithOutcome { see, prepare: hook }))
    }
}

impl<P, X> RetryLayer<P, X> {
    fn with_hooks<Y>(self, change: impl FnOnce(X) -> Y) -> RetryLayer<P, Y> {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            hooks: change(self.hooks),
        }
    }
}
