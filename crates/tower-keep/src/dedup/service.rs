//! The service, and its calls where duplicates are rejected.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    error::Duplicate,
    execution::Execution,
    future::{self, ResponseFuture},
    layer::{DedupKey, DedupLayer},
    mode::Reject,
};
use crate::{
    event::{EventKind, JobId},
    job::{context, core::Core, membership::Membership, panic::before_service},
    reject::{Fail, OnReject},
};

/// The service that [`DedupLayer`] makes.
#[derive(Clone)]
pub struct Dedup<S, Y, M = Reject, O = Fail> {
    pub(super) inner: S,
    pub(super) layer: DedupLayer<Y, M, O>,
}

impl<S, Y, M, O> Dedup<S, Y, M, O> {
    pub(super) fn new(inner: S, layer: DedupLayer<Y, M, O>) -> Self {
        Self { inner, layer }
    }
}

pub(super) fn job_of(membership: &Membership) -> Option<Arc<Core>> {
    membership.with_job(Arc::clone)
}

/// The instance that was called, which serves the execution; a clone takes the next calls.
pub(super) fn called<S: Clone>(inner: &mut S) -> S {
    let next = inner.clone();
    mem::replace(inner, next)
}

pub(super) fn tell_duplicate(membership: &Membership, of: Option<JobId>, joined: bool) {
    membership.with_job(|job| {
        // Another job does the work.
        job.flags.hold_back();
        context::emit(job, || EventKind::Duplicate { of, joined });
    });
}

impl<S, Y: Clone, M: Clone, O: Clone> Layer<S> for DedupLayer<Y, M, O> {
    type Service = Dedup<S, Y, M, O>;

    fn layer(&self, inner: S) -> Dedup<S, Y, M, O> {
        Dedup::new(inner, self.clone())
    }
}

impl<S, Y, O, Request> Service<Request> for Dedup<S, Y, Reject, O>
where
    S: Service<Request> + Clone,
    Y: DedupKey<Request>,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S, Request, Y::Key, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let membership = Membership::without_call();
        let lead = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            Some(keys.mark(key, job_of(&membership).map(|job| job.id())))
        })
        .transpose();
        let state = match lead {
            Ok(lead) => future::State::Executing {
                execution: Execution::new(called(&mut self.inner), request, lead, &membership),
            },
            Err(of) => {
                tell_duplicate(&membership, of, false);
                future::State::Rejected {
                    duplicate: Some(Duplicate::new(of)),
                }
            }
        };
        ResponseFuture::new(state, layer.on_reject.clone(), membership)
    }
}

impl<S: fmt::Debug, Y: fmt::Debug, M: fmt::Debug, O> fmt::Debug for Dedup<S, Y, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
