//! The service where a newer call takes the place of an older one.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    super::{
        error::Duplicate,
        execution::Execution,
        layer::DedupKey,
        mode::{Debounce, Latest},
        service::{Dedup, called, job_of},
    },
    future::ReplaceFuture,
};
use crate::{
    job::{panic::before_service, seat::Seat},
    reject::OnReject,
};

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
        let layer = &self.layer;
        let seat = Seat::without_call();
        let hold = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            let (job, shown) = (job_of(&seat), keys.shown(&key));
            Some(keys.places.take_place(key, shown, job.as_ref()))
        });
        let execution = Execution::new(called(&mut self.inner), request, None, &seat);
        ReplaceFuture::new(execution, hold, layer.on_reject.clone(), seat)
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
        let layer = &self.layer;
        let seat = Seat::without_call();
        let hold = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            let (job, shown) = (job_of(&seat), keys.shown(&key));
            Some(keys.places.line_up(key, shown, job.as_ref(), &layer.mode))
        });
        let execution = Execution::new(called(&mut self.inner), request, None, &seat);
        ReplaceFuture::new(execution, hold, layer.on_reject.clone(), seat)
    }
}
