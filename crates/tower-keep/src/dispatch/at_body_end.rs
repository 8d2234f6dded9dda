//! `Dispatcher::http`: the jobs of an HTTP client end with their response bodies.

use tower_layer::Layer;

use super::{
    dispatchable::Dispatchable,
    dispatcher::Dispatcher,
    entry_service::StackCall,
    job_end::{Begun, EndsJob, HandleResponse, OwnLayers, Work},
};
use crate::{
    cancel::FollowBody,
    event::JobName,
    http::{
        HttpRequest,
        body::{AtBodyEnd, CancelGuard, DispatchGuard, DispatchedBody, FollowResponse},
    },
    job::{call_end::BeginsCall, id_source::Unidentified, membership::Reading},
    reject::Fail,
};

/// A [`Dispatcher`] with [`http`](Dispatcher::http) and no other setter that changes its type.
///
/// ```
/// use tower_keep::dispatch::HttpDispatcher;
///
/// struct Mirror<Client> {
///     pages: HttpDispatcher<Client>,
/// }
/// ```
pub type HttpDispatcher<S> = Dispatcher<S, JobName, Unidentified, Fail, AtBodyEnd>;

impl<S, N, I, O, E> Dispatcher<S, N, I, O, E> {
    /// The jobs end with their [response bodies](crate::http::body), and not with the heads: for an
    /// HTTP client. See [HTTP clients](crate::dispatch#http-clients).
    ///
    /// The stack has to take HTTP requests, and answer with a body that can be followed:
    ///
    /// ```compile_fail,E0599
    /// use tower::service_fn;
    /// use tower_keep::{BoxError, Dispatcher};
    ///
    /// # fn dispatch() {
    /// let stack = service_fn(|n: u32| async move { Ok::<_, BoxError>(n) });
    /// // error: these trait bounds were not satisfied: `u32: FollowResponse<..>`
    /// let job = Dispatcher::new(stack).http().dispatch(1);
    /// # }
    /// ```
    #[must_use]
    pub fn http(self) -> Dispatcher<S, N, I, O, AtBodyEnd> {
        self.ending(AtBodyEnd)
    }
}

impl<S, R: HttpRequest> BeginsCall<StackCall<S, R>> for FollowBody {
    fn is_bodiless(&self, StackCall(_, request): &StackCall<S, R>) -> bool {
        AtBodyEnd.is_bodiless(request)
    }
}

/// The response of a dispatched call whose body can be cancelled.
type Cancellable<T> = <T as FollowResponse<CancelGuard>>::Followed;

#[diagnostic::do_not_recommend]
impl<S, Request> EndsJob<S, Request> for AtBodyEnd
where
    S: Dispatchable<Request>,
    S::Response: FollowResponse<CancelGuard>,
    Cancellable<S::Response>: FollowResponse<DispatchGuard, Followed: Send + 'static> + Send,
    Request: HttpRequest + Send + 'static,
{
    type Work = Work<StackCall<S, Request>, FollowBody, DispatchedBody>;

    fn begin(layers: OwnLayers<'_>, call: StackCall<S, Request>) -> Begun<Self::Work> {
        let cancel = layers.cancel.calls_dropping(FollowBody);
        let is_bodiless = FollowBody.is_bodiless(&call);
        let cancel = cancel.layer(super::entry_service::EntryService);
        layers.call_through(cancel, call, is_bodiless, DispatchedBody)
    }
}

impl<T> HandleResponse<T> for AtBodyEnd
where
    T: FollowResponse<CancelGuard>,
    Cancellable<T>: FollowResponse<DispatchGuard>,
{
    type Response = <Cancellable<T> as FollowResponse<DispatchGuard>>::Followed;

    fn answer(response: T) -> Self::Response {
        let response = response.follow(CancelGuard::new(Reading::without_call(), None), true);
        response.follow(DispatchGuard::new(Reading::without_call()), true)
    }
}
