//! `Cancel`, the service: tracks each call and stops it when its job is cancelled.

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
    call_end::FinishCall,
    cancellable_call::{CancelWatch, CancellableCall},
    drop_policy::{DropPolicy, StopOnDrop},
    external_token::RunUntil,
    future::{ResponseFuture, State},
    grouping::{Grouping, NoGroup},
    layer::CancelLayer,
};
use crate::{
    display_error::DisplayError,
    event::{CancelReason, JobName},
    job::{
        Cancelled,
        call_end::BeginsCall,
        context,
        core::{Core, Origin},
        membership::{Joining, LayerId, Membership, Watcher},
        panic::before_service,
    },
    reject::{Fail, OnReject},
};

/// Makes the calls of a service cancellable. Made by [`CancelLayer`].
///
/// ```
/// use tower::{Layer, Service, service_fn};
/// use tower_keep::{BoxError, CancelLayer};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let cancel = CancelLayer::new();
/// let handle = cancel.handle();
/// let mut service = cancel.layer(service_fn(|_: u32| std::future::pending::<Result<(), BoxError>>()));
/// let call = service.call(1);
/// let mut inner = service.into_inner();
///
/// // The call is still tracked, a call of the inner service is not.
/// let _untracked = inner.call(2);
/// assert_eq!(handle.jobs().len(), 1);
/// assert!(handle.cancel(handle.jobs()[0].job));
/// assert!(call.await.is_err());
/// # });
/// ```
pub struct Cancel<S, G = NoGroup, D = StopOnDrop, O = Fail> {
    inner: S,
    layer: CancelLayer<G, D, O>,
    id: LayerId,
    /// Waited for together with the inner service's readiness. Made only when the inner service is
    /// not ready.
    stopped: Option<Box<Stopped>>,
}

impl<S, G, D, O> Cancel<S, G, D, O> {
    pub(super) fn new(inner: S, layer: CancelLayer<G, D, O>) -> Self {
        Self {
            inner,
            layer,
            id: LayerId::next(),
            stopped: None,
        }
    }

    /// Gives access to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gives mutable access to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back. Calls that run go on, and handles of the layer still reach
    /// them.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn is_stopped(&self) -> bool {
        self.layer.registry.is_closed()
            || self
                .layer
                .external_token
                .as_ref()
                .is_some_and(|external_token| external_token.token.is_cancelled())
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let layer = &self.layer;
        let stopped = self.stopped.get_or_insert_with(|| {
            Box::new(Stopped {
                shutdown: Box::pin(layer.registry.shutdown_token().clone().cancelled_owned()),
                external_token: layer
                    .external_token
                    .as_ref()
                    .map(|external_token| Box::pin(external_token.token.clone().cancelled_owned())),
            })
        });
        let external_token = stopped
            .external_token
            .as_mut()
            .is_some_and(|external_token| external_token.as_mut().poll(cx).is_ready());
        if external_token {
            Poll::Ready(())
        } else {
            stopped.shutdown.as_mut().poll(cx)
        }
    }

    fn poll_inner_ready<Request>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Request>,
    {
        // Both are final, so that `call` refuses the request too, without the inner service.
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
    fn call_tracked<Request>(&mut self, request: Request) -> ResponseFuture<D::Call, O>
    where
        S: Service<Request>,
        G: Grouping<Request>,
        D: DropPolicy<S::Future, G::Key> + BeginsCall<Request>,
        O: Clone,
    {
        let layer = &self.layer;
        let inner = &mut self.inner;
        let joining = Joining {
            watcher: Watcher::Nothing,
            layer: self.id,
        };
        let stopped = layer.external_token.as_ref().is_some_and(|external_token| {
            external_token.token.is_cancelled()
                && matches!(external_token.fired(&*layer.registry), RunUntil::Now)
        });
        let is_bodiless = layer.on_drop.is_bodiless(&request);
        let (membership, state) = Membership::track(&joining, || {
            // `track` makes the job ambient. It is missing only if the thread's storage is gone.
            let job = context::current()
                .unwrap_or_else(|| Core::new(JobName::EMPTY, Origin::Nobody, context::apart));
            let watch = CancelWatch::new(job);
            let job = watch.job();
            if stopped {
                watch.cancel(CancelReason::Requested);
                return rejected(job);
            }
            let Some(call) = layer.registry.track(job, watch.is_shared()) else {
                // Another running call of the job may finish.
                if layer.registry.find(job.id()).is_none() {
                    watch.cancel(CancelReason::Shutdown);
                }
                return rejected_for(job, CancelReason::Shutdown);
            };
            if watch.is_stopped() {
                return rejected(job);
            }
            let group = before_service(|| {
                let groups = layer.group.groups()?;
                let group = layer.group.group(&request)?;
                Some(groups.enter(group, job, watch.is_shared()))
            });
            // A younger job of the group may have replaced it.
            if watch.is_stopped() {
                return rejected(job);
            }
            let future = inner.call(request);
            State::Running {
                call: D::begin(CancellableCall::new(
                    future,
                    watch,
                    layer.external_token.clone(),
                    layer.grace,
                    group,
                    call,
                )),
            }
        });
        let membership = membership.begun(is_bodiless);
        ResponseFuture::new(state, layer.on_reject.clone(), membership)
    }
}

#[cold]
fn rejected<F>(job: &Core) -> State<F> {
    rejected_for(job, CancelReason::Requested)
}

/// The job's own reason takes precedence.
#[cold]
fn rejected_for<F>(job: &Core, otherwise: CancelReason) -> State<F> {
    let reason = job.reason().unwrap_or(otherwise);
    State::Rejected {
        cancelled: Some(Cancelled::of(job.id(), reason)),
    }
}

impl<S, G: Clone, D: Clone, O: Clone> Layer<S> for CancelLayer<G, D, O> {
    type Service = Cancel<S, G, D, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Cancel::new(inner, self.clone())
    }
}

impl<S, G, D, O, Request> Service<Request> for Cancel<S, G, D, O>
where
    S: Service<Request>,
    G: Grouping<Request>,
    D: DropPolicy<S::Future, G::Key> + BeginsCall<Request>,
    D::Call: FinishCall<S::Response>,
    O: OnReject<Cancelled, S::Response, S::Error> + Clone,
    O::Error: DisplayError,
{
    type Response = <D::Call as FinishCall<S::Response>>::Response;
    type Error = O::Error;
    type Future = ResponseFuture<D::Call, O>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        self.poll_inner_ready(cx)
            .map_err(|error| self.layer.on_reject.pass(error))
    }

    /// # Panics
    ///
    /// If the layer is [detached](CancelLayer::detached), outside a tokio runtime.
    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        self.call_tracked(request)
    }
}

impl<S: Clone, G: Clone, D: Clone, O: Clone> Clone for Cancel<S, G, D, O> {
    fn clone(&self) -> Self {
        // A wait belongs to one instance.
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
            id: self.id,
            stopped: None,
        }
    }
}

impl<S: fmt::Debug, G: fmt::Debug, D: fmt::Debug, O> fmt::Debug for Cancel<S, G, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

/// Waits for the shutdown or the external token.
struct Stopped {
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    external_token: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}
