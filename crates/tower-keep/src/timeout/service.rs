//! `Timeout`, the service: computes the deadline of a call and returns the response future.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::{BeginsBody, LimitsBody, UntilHead},
    deadline::Deadline,
    future::ResponseFuture,
    grace::AtLimit,
    layer::TimeoutLayer,
    limit::{Limit, Measure},
};
use crate::{
    job::{
        Elapsed, context,
        membership::{Joining, LayerId, Membership, Watcher},
        panic::before_service,
    },
    reject::{Fail, OnReject},
};

/// The service that [`TimeoutLayer`] makes: it ends a call at its limit.
#[derive(Clone)]
pub struct Timeout<S, L = Option<Duration>, T = Option<Duration>, O = Fail, B = UntilHead> {
    inner: S,
    layer: TimeoutLayer<L, T, O, B>,
    id: LayerId,
}

impl<S, L, T, O, B> Timeout<S, L, T, O, B> {
    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Direct calls to it have no limit from this layer.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L: Clone, T: Clone, O: Clone, B: Clone> Layer<S> for TimeoutLayer<L, T, O, B> {
    type Service = Timeout<S, L, T, O, B>;

    fn layer(&self, inner: S) -> Timeout<S, L, T, O, B> {
        Timeout {
            inner,
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

impl<S, L, T, O, B, Request> Service<Request> for Timeout<S, L, T, O, B>
where
    S: Service<Request>,
    L: Limit<Request>,
    T: Limit<Request>,
    O: OnReject<Elapsed, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
    B: BeginsBody<Request> + LimitsBody<S::Response>,
{
    type Response = B::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S::Future, O, B>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        self.inner
            .poll_ready(cx)
            .map_err(|error| self.layer.on_reject.pass(error))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let (step_limit, limit) = before_service(|| {
            let step_limit = layer.step_limit.limit(&request);
            (step_limit, layer.limit.limit(&request))
        });
        let began = limit.map(|_| context::called_at());
        let deadline = limit
            .zip(began)
            .and_then(|(limit, began)| layer.deadline(limit, began));
        if layer.tracks() {
            return self.call_tracked(request, deadline, step_limit);
        }
        let limits = Deadline::limits(deadline.as_ref(), step_limit);
        let is_bodiless = layer.body.is_bodiless(&request);
        let (membership, future) =
            Membership::call_limited(limits, began, || self.inner.call(request));
        let at_limit = AtLimit::Drop { step_limit };
        ResponseFuture::new(
            future,
            deadline,
            at_limit,
            layer.on_reject.clone(),
            layer.body.of_call(layer.name),
            membership.begun(is_bodiless),
        )
    }
}

impl<S, L, T, O, B> Timeout<S, L, T, O, B> {
    /// Joins the job of the stack, or begins one: for idle limits and grace periods.
    fn call_tracked<Request>(
        &mut self,
        request: Request,
        mut deadline: Option<Deadline>,
        step_limit: Option<Duration>,
    ) -> ResponseFuture<S::Future, O, B>
    where
        S: Service<Request>,
        O: Clone,
        B: BeginsBody<Request>,
    {
        let layer = &self.layer;
        let is_bodiless = layer.body.is_bodiless(&request);
        let limits = Deadline::limits(deadline.as_ref(), step_limit);
        let joining = Joining {
            watcher: Watcher::Nothing,
            layer: self.id,
        };
        let mut at_limit = AtLimit::Drop { step_limit: None };
        let (membership, future) = Membership::track(&joining, || {
            // `track` makes the job ambient.
            context::with_current(|job| {
                let Some(job) = job else { return };
                job.set_step_limit(limits.step);
                if deadline.is_some_and(|deadline| deadline.measure == Measure::Idle) {
                    job.be_timed();
                }
                at_limit = AtLimit::in_job(job, deadline.as_mut(), layer.grace_period());
            });
            let _in_force = context::narrow(limits);
            let _signal = at_limit.signal().map(context::under_stop_signal);
            self.inner.call(request)
        });
        ResponseFuture::new(
            future,
            deadline,
            at_limit,
            layer.on_reject.clone(),
            layer.body.of_call(layer.name),
            membership.begun(is_bodiless),
        )
    }
}

impl<S, L, T, O, B> fmt::Debug for Timeout<S, L, T, O, B>
where
    S: fmt::Debug,
    L: fmt::Debug,
    T: fmt::Debug,
    B: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}
