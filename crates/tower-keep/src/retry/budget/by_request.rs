//! The budget of a call: from the layer, or chosen per request with `budget_by`.

use std::fmt;

use super::RetryBudget;
use crate::for_request::{AskRequest, ForRequest};

/// Chooses the budget of a call.
#[diagnostic::on_unimplemented(
    message = "the closure given to `budget_by` does not take `&{Request}`",
    label = "the service takes `{Request}`",
    note = "the closure has to be an `Fn(&{Request}) -> Option<RetryBudget>`"
)]
pub trait ChooseBudget<Request>: sealed::Sealed {
    /// Whether a budget of the layer replaces the choice. Otherwise it is the fallback.
    #[doc(hidden)]
    const YIELDS: bool = false;

    /// The budget for this request; `None` falls back to the layer's, if it has one.
    #[doc(hidden)]
    fn choose(&self, request: &Request) -> Option<RetryBudget>;
}

/// Uses the layer's [`budget`](crate::RetryLayer::budget), if there is one. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerBudget;

impl<Request> ChooseBudget<Request> for LayerBudget {
    #[inline(always)]
    fn choose(&self, _: &Request) -> Option<RetryBudget> {
        None
    }
}

/// Chooses the budget with a closure. Made by
/// [`RetryLayer::budget_by`](crate::RetryLayer::budget_by).
#[derive(Clone)]
pub struct BudgetBy<F>(pub(in crate::retry) ForRequest<F>);

#[diagnostic::do_not_recommend]
impl<F, Request> ChooseBudget<Request> for BudgetBy<F>
where
    ForRequest<F>: AskRequest<Request, Option<RetryBudget>>,
{
    fn choose(&self, request: &Request) -> Option<RetryBudget> {
        self.0.ask(request)
    }
}

impl<F> fmt::Debug for BudgetBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetBy").finish_non_exhaustive()
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::LayerBudget {}
    impl<F> Sealed for super::BudgetBy<F> {}
}
