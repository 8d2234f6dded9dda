//! The service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio_util::sync::WaitForCancellationFutureOwned;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::{ResponseFuture, State},
    layer::{CancelLayer, Detached, NoGroup, ReplaceGroup, StopOnDrop},
    outside::Until,
    spawned::Spawned,
    work::{Watch, Work},
};
use crate::{
    event::{CancelReason, JobName},
    job::{
        Cancelled, context,
        core::{Core, Origin},
        membership::{Joining, LayerId, Membership, Watcher},
        panic::before_service,
    },
    reject::{Fail, OnReject},
};

/// The service that [`CancelLayer`] makes.
pub struct Cancel<S, G = NoGroup, O = Fail, H = StopOnDrop> {
    inner: S,
    layer: CancelLayer<G, O, H>,
    id: LayerId,
    /// What to wait for beside the inner service's readiness. Made only when it is not ready.
    stopped: Option<Box<Stopped>>,
}

impl<S, G, O, H> Cancel<S, G, O, H> {
    pub(super) fn new(inner: S, layer: CancelLayer<G, O, H>) -> Self {
        Self {
            inner,
            layer,
            id: LayerId::next(),
            stopped: None,
        }
    }

    fn is_stopped(&self) -> bool {
        self.layer.registry.is_closed()
            || self
                .layer
                .outside
                .as_ref()
                .is_some_and(|outside| outside.token.is_cancelled())
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let layer = &self.layer;
        let stopped = self.stopped.get_or_insert_with(|| {
            Box::new(Stopped {
                shutdown: Box::pin(layer.registry.shutdown_token().clone().cancelled_owned()),
                outside: layer
                    .outside
                    .as_ref()
                    .map(|outside| Box::pin(outside.token.clone().cancelled_owned())),
            })
        });
        let outside = stopped
            .outside
            .as_mut()
            .is_some_and(|outside| outside.as_mut().poll(cx).is_ready());
        if outside {
            Poll::Ready(())
        } else {
            stopped.shutdown.as_mut().poll(cx)
        }
    }

    fn poll_ready<Request>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Request>,
    {
        // Both are for good, so that `call` turns the request away too, without the inner service.
        if self.is_stopped() {
            return Poll::Ready(Ok(()));
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(result) => {
                self.stopped = None;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_stopped(cx).map(Ok),
        }
    }

    /// Tracks the job and calls the inner service, unless the job is cancelled already.
    #[inline(always)]
    fn call<Request, W>(
        &mut self,
        request: Request,
        hold: impl FnOnce(Work<S::Future, G::Key>) -> W,
    ) -> ResponseFuture<W, O>
    where
        S: Service<Request>,
        G: ReplaceGroup<Request>,
        O: Clone,
    {
        let layer = &self.layer;
        let inner = &mut self.inner;
        let joining = Joining {
            watcher: Watcher::Nothing,
            layer: self.id,
        };
        let stopped = layer.outside.as_ref().is_some_and(|outside| {
            outside.token.is_cancelled() && matches!(outside.fired(&*layer.registry), Until::Now)
        });
        let (membership, state) = Membership::track(&joining, || {
            // `track` makes the job ambient, and there is none only where the thread's storage is gone.
            let job = context::current()
                .unwrap_or_else(|| Core::new(JobName::EMPTY, Origin::Nobody, context::apart));
            let watch = Watch::new(job);
            let job = watch.job();
            if stopped {
                watch.cancel(CancelReason::Requested);
                return rejected(job);
            }
            let Some(call) = layer.registry.track(job, watch.is_shared()) else {
                // Another call of it that runs may come to its end.
                if layer.registry.find(job.id()).is_none() {
                    watch.cancel(CancelReason::Shutdown);
                }
                return rejected_for(job, CancelReason::Shutdown);
            };
            if watch.is_stopped() {
                return rejected(job);
            }
            let place = before_service(|| {
                let group = layer.group.group(&request);
                group.map(|(group, groups)| groups.enter(group, job, watch.is_shared()))
            });
            // A younger job may have its place in the group.
            if watch.is_stopped() {
                return rejected(job);
            }
            let future = inner.call(request);
            State::Working {
                work: hold(Work::new(
                    future,
                    watch,
                    layer.outside.clone(),
                    layer.grace,
                    place,
                    call,
                )),
            }
        });
        ResponseFuture::new(state, layer.on_reject.clone(), membership)
    }
}

#[cold]
fn rejected<W>(job: &Core) -> State<W> {
    rejected_for(job, CancelReason::Requested)
}

/// For this reason, unless the job has one.
#[cold]
fn rejected_for<W>(job: &Core, otherwise: CancelReason) -> State<W> {
    let reason = job.reason().unwrap_or(otherwise);
    State::Rejected {
        cancelled: Some(Cancelled::of(job.id(), reason)),
    }
}

impl<S, G: Clone, O: Clone, H: Clone> Layer<S> for CancelLayer<G, O, H> {
    type Service = Cancel<S, G, O, H>;

    fn layer(&self, inner: S) -> Cancel<S, G, O, H> {
        Cancel::new(inner, self.clone())
    }
}

impl<S, G, O, Request> Service<Request> for Cancel<S, G, O, StopOnDrop>
where
    S: Service<Request>,
    G: ReplaceGroup<Request>,
    O: OnReject<Cancelled, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<Work<S::Future, G::Key>, O>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Self::poll_ready(self, cx).map_err(|error| self.layer.on_reject.pass(error))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        Self::call(self, request, |work| work)
    }
}

impl<S, G, O, Request> Service<Request> for Cancel<S, G, O, Detached>
where
    S: Service<Request>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: fmt::Display + Send + 'static,
    G: ReplaceGroup<Request>,
    G::Key: Send + Sync + 'static,
    O: OnReject<Cancelled, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<Spawned<S::Response, S::Error>, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Self::poll_ready(self, cx).map_err(|error| self.layer.on_reject.pass(error))
    }

    /// # Panics
    ///
    /// Outside a tokio runtime.
    fn call(&mut self, request: Request) -> Self::Future {
        Self::call(self, request, Spawned::new)
    }
}

impl<S: Clone, G: Clone, O: Clone, H: Clone> Clone for Cancel<S, G, O, H> {
    fn clone(&self) -> Self {
        // What this instance waits for is its own.
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
            id: self.id,
            stopped: None,
        }
    }
}

impl<S: fmt::Debug, G: fmt::Debug, O, H: fmt::Debug> fmt::Debug for Cancel<S, G, O, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

/// Waits for the shutdown or the outside token.
struct Stopped {
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    outside: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}
