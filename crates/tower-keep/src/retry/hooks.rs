//! The optional hooks of a `RetryLayer`, collected in one type parameter.

use std::future::Future;

use super::{
    before_attempt::{BeforeAttempt, Unchanged},
    budget::{ChooseBudget, LayerBudget, RetryBudget},
    discard::{DiscardOutcome, DropOutcome},
    give_up::{GaveUp, KeepOutcome, OnGiveUp},
    keep_request::{ByClone, KeepRequest},
    max_retries::{ChooseRetries, LayerRetries},
    policy::Attempt,
};

/// The optional hooks of a layer.
///
/// - `C` keeps the request for further attempts.
/// - `H` can replace the last outcome.
/// - `B` chooses the budget.
/// - `N` chooses the number of retries.
/// - `A` changes the request before each attempt.
/// - `D` discards a response that another attempt follows, and makes the caller's response of the last.
#[derive(Clone, Copy, Debug)]
pub struct HookSet<
    C = ByClone,
    H = KeepOutcome,
    B = LayerBudget,
    N = LayerRetries,
    A = Unchanged,
    D = DropOutcome,
> {
    pub(crate) keep_request: C,
    pub(crate) on_give_up: H,
    pub(crate) choose_budget: B,
    pub(crate) choose_retries: N,
    pub(crate) before_attempt: A,
    pub(crate) discard_outcome: D,
}

impl HookSet {
    /// The default hooks.
    pub(super) const DEFAULT: Self = Self {
        keep_request: ByClone,
        on_give_up: KeepOutcome,
        choose_budget: LayerBudget,
        choose_retries: LayerRetries,
        before_attempt: Unchanged,
        discard_outcome: DropOutcome,
    };
}

/// One setter for each hook with a setter in `RetryLayer`. A setter lists the other fields because struct update syntax cannot
/// change the type of a field.
macro_rules! replaces {
    ($($part:ident: $generic:ident -> $set:ty; $($rest:ident),+)*) => {
        impl<C, H, B, N, A, D> HookSet<C, H, B, N, A, D> {$(
            #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "HTTP replaces each hook"))]
            pub(crate) fn $part<$generic>(self, $part: $generic) -> $set {
                HookSet { $part, $($rest: self.$rest),+ }
            }
        )*}
    };
}

replaces! {
    keep_request: Y -> HookSet<Y, H, B, N, A, D>; on_give_up, choose_budget, choose_retries, before_attempt, discard_outcome
    on_give_up: Y -> HookSet<C, Y, B, N, A, D>; keep_request, choose_budget, choose_retries, before_attempt, discard_outcome
    choose_budget: Y -> HookSet<C, H, Y, N, A, D>; keep_request, on_give_up, choose_retries, before_attempt, discard_outcome
    choose_retries: Y -> HookSet<C, H, B, Y, A, D>; keep_request, on_give_up, choose_budget, before_attempt, discard_outcome
    before_attempt: Y -> HookSet<C, H, B, N, Y, D>; keep_request, on_give_up, choose_budget, choose_retries, discard_outcome
    discard_outcome: Y -> HookSet<C, H, B, N, A, Y>; keep_request, on_give_up, choose_budget, choose_retries, before_attempt
}

/// The hooks as a call uses them. Only [`HookSet`] implements it: it collects the bounds of six
/// traits.
pub trait Hooks<Request, Response, Error>: sealed::Sealed {
    /// The data that the hook before an attempt keeps from the previous outcome.
    type Seen;

    /// See [`BeforeAttempt::Prepared`].
    type Prepared;

    /// See [`KeepRequest::Kept`].
    type Kept;

    /// The future of an asynchronous hook before an attempt.
    type Prepare: Future<Output = Result<Self::Prepared, Error>>;

    /// See [`DiscardOutcome::Drain`].
    type Drain: Future<Output = ()>;

    /// See [`BeforeAttempt::CHANGES`].
    const CHANGES: bool;

    /// See [`BeforeAttempt::WAITS`].
    const WAITS: bool;

    /// See [`DiscardOutcome::DRAINS`].
    const DRAINS: bool;

    /// See [`DiscardOutcome::RESUMES`].
    const RESUMES: bool;

    /// See [`ChooseBudget::YIELDS`].
    const BUDGET_YIELDS: bool;

    fn keep(&self, request: &mut Request) -> Option<Self::Kept>;

    fn again(&self, kept: Self::Kept, is_last: bool) -> (Request, Option<Self::Kept>);

    fn can_repeat(&self, kept: &Self::Kept) -> bool;

    fn claim(&self, kept: &Self::Kept);

    fn budget(&self, request: &Request) -> Option<RetryBudget>;

    fn max_retries(&self, request: &Request) -> Option<u32>;

    fn give_up(&self, outcome: Result<Response, Error>, why: GaveUp) -> Result<Response, Error>;

    fn see(&self, outcome: &Result<Response, Error>) -> Option<Self::Seen>;

    fn discard(&self, response: Response) -> Option<Self::Drain>;

    fn change(&self, request: &mut Request, attempt: &Attempt<'_>);

    fn prepare(
        &self,
        request: Request,
        attempt: &Attempt<'_>,
        last: Option<Self::Seen>,
    ) -> Self::Prepare;

    fn hold(request: Request) -> Option<Self::Prepared>;

    fn request(prepared: Self::Prepared) -> Request;
}

impl<C, H, B, N, A, D, Request, Response, Error> Hooks<Request, Response, Error>
    for HookSet<C, H, B, N, A, D>
where
    C: KeepRequest<Request>,
    H: OnGiveUp<Response, Error>,
    B: ChooseBudget<Request>,
    N: ChooseRetries<Request>,
    A: BeforeAttempt<Request, Response, Error>,
    D: DiscardOutcome<Response>,
{
    type Seen = A::Seen;
    type Prepared = A::Prepared;
    type Kept = C::Kept;
    type Prepare = A::Future;
    type Drain = D::Drain;

    const CHANGES: bool = A::CHANGES;
    const WAITS: bool = A::WAITS;
    const DRAINS: bool = D::DRAINS;
    const RESUMES: bool = D::RESUMES;
    const BUDGET_YIELDS: bool = B::YIELDS;

    #[inline(always)]
    fn keep(&self, request: &mut Request) -> Option<C::Kept> {
        self.keep_request.keep(request)
    }

    #[inline(always)]
    fn again(&self, kept: C::Kept, is_last: bool) -> (Request, Option<C::Kept>) {
        self.keep_request.again(kept, is_last)
    }

    #[inline(always)]
    fn can_repeat(&self, kept: &C::Kept) -> bool {
        self.keep_request.can_repeat(kept)
    }

    #[inline(always)]
    fn claim(&self, kept: &C::Kept) {
        self.keep_request.claim(kept);
    }

    #[inline(always)]
    fn budget(&self, request: &Request) -> Option<RetryBudget> {
        self.choose_budget.choose(request)
    }

    #[inline(always)]
    fn max_retries(&self, request: &Request) -> Option<u32> {
        self.choose_retries.choose(request)
    }

    #[inline(always)]
    fn give_up(&self, outcome: Result<Response, Error>, why: GaveUp) -> Result<Response, Error> {
        self.on_give_up.give_up(outcome, why)
    }

    #[inline(always)]
    fn see(&self, outcome: &Result<Response, Error>) -> Option<A::Seen> {
        self.before_attempt.see(outcome)
    }

    #[inline(always)]
    fn discard(&self, response: Response) -> Option<D::Drain> {
        self.discard_outcome.discard(response)
    }

    #[inline(always)]
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>) {
        self.before_attempt.change(request, attempt);
    }

    #[inline(always)]
    fn prepare(
        &self,
        request: Request,
        attempt: &Attempt<'_>,
        last: Option<A::Seen>,
    ) -> Self::Prepare {
        self.before_attempt.prepare(request, attempt, last)
    }

    #[inline(always)]
    fn hold(request: Request) -> Option<A::Prepared> {
        A::hold(request)
    }

    #[inline(always)]
    fn request(prepared: A::Prepared) -> Request {
        A::request(prepared)
    }
}

mod sealed {
    pub trait Sealed {}
    impl<C, H, B, N, A, D> Sealed for super::HookSet<C, H, B, N, A, D> {}
}
