//! Collapsing: callers share one exchange only if its answer may serve them. Otherwise one caller
//! has the answer, and each other caller executes its own request.

mod call;
mod future;

use tower_service::Service;

use crate::error::BoxError;

/// Callers share an execution if the policy `P` allows it.
#[derive(Clone, Copy, Debug)]
pub struct Collapse<P>(pub(crate) P);

/// Whether a key is concerned by a change.
pub(crate) type Concerns<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// Decides which callers of a shared exchange may have its answer.
pub trait CollapsePolicy<S: Service<Request>, Request>: Clone {
    /// The service that runs the exchange for all its callers.
    type Exchange: Service<Request, Response = Self::Answer, Error = BoxError, Future: Send + 'static>
        + Send
        + 'static;
    /// What the exchange gives to each of its callers.
    type Answer: Clone + Send + Sync + 'static;
    /// The response of a caller.
    type Response;
    /// The key of a request.
    type Key;

    /// Wraps the inner service.
    fn exchange(&self, service: S) -> Self::Exchange;

    /// A copy of the request, for a caller that has to send its own. `None`: the request cannot be
    /// copied, and so it is not shared.
    fn copy(&self, request: &Request) -> Option<Request>;

    /// The response of the caller with this request. `None`: the caller has to send its own.
    fn claim(answer: Self::Answer, request: &Request) -> Option<Self::Response>;

    /// The keys whose answers this request may change. `None`: it changes nothing.
    fn changes(request: &Request) -> Option<Concerns<Self::Key>>;

    /// Whether the service may have done what the request asks.
    fn may_have_changed(response: &S::Response) -> bool;

    /// The response of a caller that shares nothing.
    fn pass(response: S::Response) -> Self::Response;
}
