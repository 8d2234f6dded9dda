use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    deadline::Deadline,
    future::ResponseFuture,
    layer::{AtOnce, TimeoutLayer},
    limit::Limit,
};
use crate::{
    job::{Elapsed, panic::before_service, seat::Seat},
    reject::{Fail, OnReject},
};

/// The service that [`TimeoutLayer`] makes.
#[derive(Clone)]
pub struct Timeout<S, L = Option<Duration>, O = Fail> {
    inner: S,
    layer: TimeoutLayer<L, O>,
}

impl<S, L, O> Timeout<S, L, O> {
    pub(super) fn new(inner: S, layer: TimeoutLayer<L, O>) -> Self {
        Self { inner, layer }
    }
}

impl<S, L: Clone, O: Clone> Layer<S> for TimeoutLayer<L, O, AtOnce> {
    type Service = Timeout<S, L, O>;

    fn layer(&self, inner: S) -> Timeout<S, L, O> {
        Timeout::new(inner, self.clone())
    }
}

impl<S, L, O, Request> Service<Request> for Timeout<S, L, O>
where
    S: Service<Request>,
    L: Limit<Request>,
    O: OnReject<Elapsed, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S::Future, O>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        self.inner
            .poll_ready(cx)
            .map_err(|error| self.layer.on_reject.pass(error))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let deadline = before_service(|| layer.deadline(&request));
        let limits = Deadline::limits(deadline.as_ref(), layer.step_limit);
        let (seat, future) = Seat::call_limited(limits, || self.inner.call(request));
        ResponseFuture::new(
            future,
            deadline,
            layer.step_limit,
            layer.on_reject.clone(),
            seat,
        )
    }
}

impl<S: fmt::Debug, L: fmt::Debug, O> fmt::Debug for Timeout<S, L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
