//! The service where a newer call takes the place of an older one.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    super::{
        error::Duplicate,
        execution::Execution,
        in_flight::Shown,
        keys::Keys,
        layer::DedupKey,
        mode::{Debounce, Latest},
        service::{Dedup, called, job_of},
    },
    future::ReplaceFuture,
    places::{Hold, Turned},
};
use crate::{
    job::{core::Core, membership::Membership, panic::before_service},
    reject::OnReject,
};

impl<S, Y, M, O> Dedup<S, Y, M, O> {
    /// Calls the service in the place that `take` has for the request's key.
    fn call_in_place<Request>(
        &mut self,
        request: Request,
        take: impl FnOnce(
            &Keys<Y::Key>,
            &M,
            Y::Key,
            Option<Arc<Shown<Y::Key>>>,
            Option<&Arc<Core>>,
        ) -> (Hold<Y::Key>, Turned),
    ) -> ReplaceFuture<S, Request, Y::Key, O>
    where
        S: Service<Request> + Clone,
        Y: DedupKey<Request>,
        O: Clone,
    {
        let layer = &self.layer;
        let membership = Membership::without_call();
        let hold = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            let (job, shown) = (job_of(&membership), keys.shown(&key));
            Some(take(keys, &layer.mode, key, shown, job.as_ref()))
        });
        let execution = Execution::new(called(&mut self.inner), request, None, &membership);
        ReplaceFuture::new(execution, hold, layer.on_reject.clone(), membership)
    }
}

impl<S, Y, O, Request> Service<Request> for Dedup<S, Y, Latest, O>
where
    S: Service<Request> + Clone,
    Y: DedupKey<Request>,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ReplaceFuture<S, Request, Y::Key, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.call_in_place(request, |keys, _, key, shown, job| {
            keys.places.take_place(key, shown, job)
        })
    }
}

impl<S, Y, O, Request> Service<Request> for Dedup<S, Y, Debounce, O>
where
    S: Service<Request> + Clone,
    Y: DedupKey<Request>,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ReplaceFuture<S, Request, Y::Key, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.call_in_place(request, |keys, mode, key, shown, job| {
            keys.places.line_up(key, shown, job, mode)
        })
    }
}
