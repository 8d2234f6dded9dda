//! The layer and its settings.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use super::{
    backoff::{Backoff, Jitter},
    before_attempt::{AsItIs, ChangeWith, PrepareWith, PrepareWithOutcome},
    budgets::{BudgetBy, ChooseBudget, OneBudget},
    give_up::{GaveUp, GiveUpWith, KeepOutcome, OnGiveUp},
    handle::RetryBudget,
    policy::{Attempt, Decision, ErrorsIf, OnClass, OnError, WithRequest},
    request::{ByClone, CloneRequest, CloneWith},
    retries::{ChooseRetries, FixedRetries, RetriesBy},
    settings::{Seeds, Settings},
};
use crate::{
    classify::{Classify, WithRetryAfter},
    unshare::Unshare,
};

/// Tries again after a failure.
///
/// See the [module](super) for what the settings do together.
///
/// `P` decides, `C` repeats the request, `H` sees the last outcome, `B` chooses the budget and `N` the number of
/// retries, `A` changes the request before each attempt.
#[derive(Clone)]
pub struct RetryLayer<
    P = OnError,
    C = ByClone,
    H = KeepOutcome,
    B = OneBudget,
    N = FixedRetries,
    A = AsItIs,
> {
    pub(crate) settings: Settings,
    pub(super) policy: P,
    pub(super) clone_request: C,
    pub(super) on_give_up: H,
    pub(super) choose_budget: B,
    pub(super) choose_retries: N,
    pub(super) before_attempt: A,
}

impl RetryLayer {
    /// Three retries after 1, 2 and 4 s, of every error.
    #[must_use]
    pub const fn new() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1)).with_default_base();
        Self::with(3, backoff)
    }

    /// For a client that somebody waits for: three retries, each after anything up to 100, 200 and 400 ms.
    ///
    /// Exponential with full jitter, capped at 20 s, as the AWS SDKs' standard mode (there from 50 ms or 1 s). For a
    /// client that makes many calls add a [`budget`](Self::budget).
    #[must_use]
    pub const fn for_clients() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(100))
            .max_delay(Duration::from_secs(20))
            .jitter(Jitter::Full);
        Self::with(3, backoff)
    }

    /// For work in the background, which had rather be late than lost: eight retries, decorrelated from 1 s, capped
    /// at 60 s.
    ///
    /// The walk is that of Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). All waits
    /// together are 5.7 min at most.
    #[must_use]
    pub const fn for_background() -> Self {
        let backoff =
            Backoff::decorrelated(Duration::from_secs(1)).max_delay(Duration::from_secs(60));
        Self::with(8, backoff)
    }

    const fn with(max_retries: u32, backoff: Backoff) -> Self {
        Self {
            settings: Settings::new(max_retries, backoff),
            policy: OnError,
            clone_request: ByClone,
            on_give_up: KeepOutcome,
            choose_budget: OneBudget,
            choose_retries: FixedRetries,
            before_attempt: AsItIs,
        }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<P, C, H, B, N, A> Unshare for RetryLayer<P, C, H, B, N, A> {
    fn is_shared(&self) -> bool {
        self.settings.is_shared()
    }

    fn renew(&mut self) {
        self.settings.renew();
    }
}

/// How often, and when.
impl<P, C, H, B, N, A> RetryLayer<P, C, H, B, N, A> {
    /// How many retries may follow the first attempt. Default: 3, which makes 4 attempts.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.unshare();
        self.settings.max_retries = max_retries;
        self
    }

    /// How long to wait before each retry: the whole of it, with its base, cap and jitter. Default: exponential from
    /// 1 s, at most 30 s, without jitter.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.unshare();
        self.settings.backoff = backoff;
        self
    }

    /// What the [`backoff`](Self::backoff) starts from: its first wait, where it is exponential. Default: 1 s.
    ///
    /// # Panics
    ///
    /// If [`max_delay`](Self::max_delay) was set to less.
    #[must_use]
    #[track_caller]
    pub fn base_delay(mut self, base_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.base_delay(base_delay);
        self
    }

    /// No wait of the backoff is longer than this. Default: 30 s, or the base delay if that is
    /// longer.
    ///
    /// What the service asks for has a limit of its own,
    /// [`max_requested_delay`](Self::max_requested_delay).
    ///
    /// # Panics
    ///
    /// If it is less than the base delay that was set.
    #[must_use]
    #[track_caller]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.max_delay(max_delay);
        self
    }

    /// The longest wait that the service may ask for, as by HTTP's `Retry-After`. Default: 60 s.
    ///
    /// Where it asks for more, the retry gives up at once with the outcome unchanged, and the reason
    /// is [`AskedTooLong`](crate::GiveUpReason::AskedTooLong): coming back earlier would only be
    /// turned away again. [`clamp_requested_delay`](Self::clamp_requested_delay) comes back all the
    /// same.
    #[must_use]
    pub fn max_requested_delay(mut self, max_requested_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.max_requested_delay = max_requested_delay;
        self
    }

    /// Waits for [`max_requested_delay`](Self::max_requested_delay) where the service asks for
    /// more, and so comes back earlier than it was asked to. Default: the retry gives up.
    #[must_use]
    pub fn clamp_requested_delay(mut self) -> Self {
        self.settings.unshare();
        self.settings.clamps_requested_delay = true;
        self
    }

    /// What chance does to each wait of the [`backoff`](Self::backoff). Default: nothing.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.unshare();
        self.settings.backoff.jitter = jitter;
        self
    }

    /// Makes jitter repeatable, for tests: the nth call that comes to wait by chance has the nth of the generators
    /// that this seed gives. The layer's clones and services count together; a setter on a layer that has any begins
    /// with the first generator again. Default: each call has one of its own, seeded by the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.unshare();
        self.settings.seeds = Some(Arc::new(Seeds::new(seed)));
        self
    }

    /// The time for all attempts and waits, from the call on: a retry that could not begin within it is given up at
    /// once. It ends no attempt that runs; for that there is [`TimeoutLayer`](crate::timeout). Default: none.
    #[must_use]
    pub fn max_total_time(mut self, max_total_time: Duration) -> Self {
        self.settings.unshare();
        self.settings.max_total_time = Some(max_total_time);
        self
    }

    /// When this retry gives up, the retries around it give up too, so that nested retries do not
    /// multiply: three retries inside three retries make 4 attempts rather than 16.
    ///
    /// The retries around it are those of the same stack, and those of the jobs whose code made
    /// this call, if a layer tracks these jobs. From then on these jobs make no other attempt, also
    /// where their code survives this failure and fails later for another reason. Default: each
    /// retry decides by itself.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, RetryLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let calls = Rc::new(Cell::new(0));
    /// let counted = Rc::clone(&calls);
    /// let broken = service_fn(move |(): ()| {
    ///     counted.set(counted.get() + 1);
    ///     async { Err::<(), BoxError>("broken".into()) }
    /// });
    /// let inner = RetryLayer::new().stop_outer_retries().layer(broken);
    /// let stack = RetryLayer::new().layer(inner);
    /// stack.oneshot(()).await.unwrap_err();
    /// assert_eq!(calls.get(), 4);
    /// # });
    /// ```
    #[must_use]
    pub fn stop_outer_retries(mut self) -> Self {
        self.settings.unshare();
        self.settings.stops_outer_retries = true;
        self
    }

    /// Bounds the retries to a share of the calls, together with the other layers that have this budget. Default: none.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.unshare();
        self.settings.budget = Some(budget);
        self
    }

    /// The most that all waits can sum up to, if every retry is used: jitter only shortens them, except that a
    /// decorrelated walk counts with its longest steps. Of a strategy of one's own it is what that computes without
    /// jitter. Delays that a service asks for are not in it.
    #[must_use]
    pub fn total_delay(&self) -> Duration {
        self.settings.total_delay()
    }
}

/// What to retry. Of `should_retry`, `classify`, `decide_with`, `decide_with_request` and `policy` the
/// last one called decides.
impl<P, C, H, B, N, A> RetryLayer<P, C, H, B, N, A> {
    /// Which errors to retry. Default: all of them.
    ///
    /// The closure sees errors only. An attempt whose limit answered with a response is then not
    /// retried: a [`decide_with`](Self::decide_with) sees that one as
    /// [`Attempt::timed_out`](super::Attempt::timed_out).
    #[must_use]
    pub fn should_retry<F, Error>(self, should_retry: F) -> RetryLayer<ErrorsIf<F>, C, H, B, N, A>
    where
        F: Fn(&Error) -> bool,
    {
        self.policy(ErrorsIf(should_retry))
    }

    /// Retries what this classifier calls a failure, so that a response can be retried too, and waits as long as its
    /// [`retry_after`](Classify::retry_after) says.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> RetryLayer<OnClass<D>, C, H, B, N, A>
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
    pub fn decide_with<F, Response, Error>(self, decide: F) -> RetryLayer<F, C, H, B, N, A>
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
    ) -> RetryLayer<WithRequest<V, D>, C, H, B, N, A>
    where
        V: Fn(&Request) -> Seen,
        D: Fn(&Seen, &Result<Response, Error>, &Attempt<'_>) -> Decision,
    {
        self.policy(WithRequest { see, decide })
    }

    /// Decides by a [`Policy`](super::Policy) of your own.
    #[must_use]
    pub fn policy<Q>(self, policy: Q) -> RetryLayer<Q, C, H, B, N, A> {
        RetryLayer {
            settings: self.settings.unshared(),
            policy,
            clone_request: self.clone_request,
            on_give_up: self.on_give_up,
            choose_budget: self.choose_budget,
            choose_retries: self.choose_retries,
            before_attempt: self.before_attempt,
        }
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
    ) -> RetryLayer<WithRetryAfter<P, F>, C, H, B, N, A>
    where
        F: Fn(&Result<Response, Error>) -> Option<Duration>,
    {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: WithRetryAfter {
                classify: self.policy,
                retry_after,
            },
            clone_request: self.clone_request,
            on_give_up: self.on_give_up,
            choose_budget: self.choose_budget,
            choose_retries: self.choose_retries,
            before_attempt: self.before_attempt,
        }
    }

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
    pub fn clone_with<F, Request>(self, clone: F) -> RetryLayer<P, CloneWith<F>, H, B, N, A>
    where
        F: Fn(&Request) -> Option<Request>,
        CloneWith<F>: CloneRequest<Request>,
    {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            clone_request: CloneWith(clone),
            on_give_up: self.on_give_up,
            choose_budget: self.choose_budget,
            choose_retries: self.choose_retries,
            before_attempt: self.before_attempt,
        }
    }
}

/// When it gives up.
impl<P, C, H, B, N, A> RetryLayer<P, C, H, B, N, A> {
    /// A hook that sees the last outcome and why there is no other attempt, and may replace that
    /// outcome: by an error that says how many attempts there were, say, or by a fallback.
    ///
    /// It runs where the policy wanted another attempt and got none, or stopped on an `Err`; never
    /// after an `Ok` for which the policy said [`Stop`](Decision::Stop), and not where the policy is
    /// not asked. [`Never`](Decision::Never) is a reason too, `Forbidden`, and makes no failure of an
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
    pub fn on_give_up<F, Response, Error>(self, hook: F) -> RetryLayer<P, C, GiveUpWith<F>, B, N, A>
    where
        F: Fn(Result<Response, Error>, GaveUp) -> Result<Response, Error>,
        GiveUpWith<F>: OnGiveUp<Response, Error>,
    {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            clone_request: self.clone_request,
            on_give_up: GiveUpWith(hook),
            choose_budget: self.choose_budget,
            choose_retries: self.choose_retries,
            before_attempt: self.before_attempt,
        }
    }

    /// Chooses the budget by the request, mostly from [`RetryBudgets`](super::RetryBudgets) by host.
    /// `None` is the layer's own [`budget`](Self::budget), if it has one.
    #[must_use]
    pub fn budget_by<F, Request>(self, budget: F) -> RetryLayer<P, C, H, BudgetBy<F>, N, A>
    where
        F: Fn(&Request) -> Option<RetryBudget>,
        BudgetBy<F>: ChooseBudget<Request>,
    {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            clone_request: self.clone_request,
            on_give_up: self.on_give_up,
            choose_budget: BudgetBy(budget),
            choose_retries: self.choose_retries,
            before_attempt: self.before_attempt,
        }
    }
}

/// What a request says itself, and what happens to it before each attempt.
impl<P, C, H, B, N, A> RetryLayer<P, C, H, B, N, A> {
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
    ) -> RetryLayer<P, C, H, B, RetriesBy<F>, A>
    where
        F: Fn(&Request) -> Option<u32>,
        RetriesBy<F>: ChooseRetries<Request>,
    {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            clone_request: self.clone_request,
            on_give_up: self.on_give_up,
            choose_budget: self.choose_budget,
            choose_retries: RetriesBy(max_retries),
            before_attempt: self.before_attempt,
        }
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
    pub fn before_attempt<F, Request>(self, hook: F) -> RetryLayer<P, C, H, B, N, ChangeWith<F>>
    where
        F: Fn(&mut Request, &Attempt<'_>),
    {
        self.with_hook(ChangeWith(hook))
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
    ) -> RetryLayer<P, C, H, B, N, PrepareWith<F>>
    where
        F: Fn(Request, &Attempt<'_>) -> Prepare,
        Prepare: Future<Output = Result<Request, Error>>,
    {
        self.with_hook(PrepareWith(hook))
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
    ) -> RetryLayer<P, C, H, B, N, PrepareWithOutcome<V, F>>
    where
        V: Fn(&Result<Response, Error>) -> Seen,
        F: Fn(Request, &Attempt<'_>, Option<Seen>) -> Prepare,
        Prepare: Future<Output = Result<Request, Error>>,
    {
        self.with_hook(PrepareWithOutcome { see, prepare: hook })
    }

    fn with_hook<D>(self, before_attempt: D) -> RetryLayer<P, C, H, B, N, D> {
        RetryLayer {
            settings: self.settings.unshared(),
            policy: self.policy,
            clone_request: self.clone_request,
            on_give_up: self.on_give_up,
            choose_budget: self.choose_budget,
            choose_retries: self.choose_retries,
            before_attempt,
        }
    }
}

impl<P, C, H, B, N, A> fmt::Debug for RetryLayer<P, C, H, B, N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        f.debug_struct("RetryLayer")
            .field("max_retries", &settings.max_retries)
            .field("backoff", &settings.backoff)
            .field("max_total_time", &settings.max_total_time)
            .field("max_requested_delay", &settings.max_requested_delay)
            .field("clamps_requested_delay", &settings.clamps_requested_delay)
            .field("stops_outer_retries", &settings.stops_outer_retries)
            .field("budget", &settings.budget)
            .finish_non_exhaustive()
    }
}
