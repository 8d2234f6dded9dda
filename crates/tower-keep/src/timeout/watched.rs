use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    deadline::Deadline,
    layer::{Measure, TimeoutLayer, Watched},
    limit::Limit,
    work::{Stopping, WatchedFuture},
};
use crate::{
    job::{
        Elapsed,
        context::{self, is_execution_of},
        core::Core,
        halt::Halt,
        panic::before_service,
        seat::{Joining, LayerId, Seat},
    },
    reject::{Fail, OnReject},
};

/// The service that [`TimeoutLayer`] makes where it watches the work: for an idle limit, or for a grace period.
#[derive(Clone)]
pub struct WatchedTimeout<S, L = Option<Duration>, O = Fail> {
    inner: S,
    layer: TimeoutLayer<L, O, Watched>,
    id: LayerId,
}

impl<S, L: Clone, O: Clone> Layer<S> for TimeoutLayer<L, O, Watched> {
    type Service = WatchedTimeout<S, L, O>;

    fn layer(&self, inner: S) -> WatchedTimeout<S, L, O> {
        WatchedTimeout {
            inner,
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

impl<S, L, O, Request> Service<Request> for WatchedTimeout<S, L, O>
where
    S: Service<Request>,
    L: Limit<Request>,
    O: OnReject<Elapsed, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = WatchedFuture<S::Future, O>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        self.inner
            .poll_ready(cx)
            .map_err(|error| self.layer.on_reject.pass(error))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let deadline = before_service(|| layer.deadline(&request));
        let limits = Deadline::limits(deadline.as_ref(), layer.step_limit);
        let joining = Joining {
            observer: None,
            traced: false,
            layer: self.id,
        };
        let (seat, (mut stopping, future)) = Seat::track(&joining, || {
            // `track` makes the job ambient.
            let mut stopping = context::with_current(|job| {
                let job = job?;
                job.set_step_limit(limits.step);
                watch(layer, deadline.as_ref(), job)
            });
            let _in_force = context::narrow(limits);
            let future = {
                let _halt = stopping
                    .as_mut()
                    .map(|stopping| context::under_halt(&mut stopping.halt));
                self.inner.call(request)
            };
            (stopping, future)
        });
        WatchedFuture::new(
            future,
            deadline,
            stopping.take(),
            layer.on_reject.clone(),
            seat,
        )
    }
}

/// What the work needs to be told to stop at its limit. Made before the call goes on, as what is called may share the
/// execution.
fn watch<L, O>(
    layer: &TimeoutLayer<L, O, Watched>,
    deadline: Option<&Deadline>,
    job: &Core,
) -> Option<Stopping> {
    let deadline = deadline?;
    if deadline.measure == Measure::Idle {
        job.be_timed();
    }
    Some(Stopping {
        grace: layer.grace?,
        shared: is_execution_of(job.id()),
        halt: Some(Halt::new(
            job.id(),
            deadline.kind(),
            context::halt_of(job.id()),
        )),
    })
}

impl<S: fmt::Debug, L: fmt::Debug, O> fmt::Debug for WatchedTimeout<S, L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedTimeout")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}
