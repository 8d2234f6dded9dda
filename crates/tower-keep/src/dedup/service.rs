//! `Dedup`, the service, and the code that its modes share.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{bounds::CloneService, future::ResponseFuture, layer::DedupLayer, mode::Reject};
use crate::{
    event::{EventKind, JobId},
    for_request::AskRequest,
    job::{context, core::Core, membership::Membership},
    reject::Fail,
};

/// Executes identical concurrent requests to a service once. Made by [`DedupLayer`].
///
/// ```
/// use std::time::Duration;
/// use tower::{Layer, Service, ServiceExt, service_fn};
/// use tower_keep::{BoxError, DedupLayer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let dedup = DedupLayer::new(|user: &u64| Some(*user)).join().cache(Duration::from_secs(60));
/// let handle = dedup.handle();
/// let mut service = dedup.layer(service_fn(|user: u64| async move {
///     Ok::<_, BoxError>(format!("user {user}"))
/// }));
/// assert_eq!(service.ready().await?.call(7).await?, "user 7");
///
/// // Past the cache, which is the layer's: it is still there.
/// assert_eq!(service.get_mut().call(8).await?, "user 8");
/// let mut inner = service.into_inner();
/// assert_eq!(inner.call(9).await?, "user 9");
/// assert_eq!(handle.cached(), 1);
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
pub struct Dedup<S, F, K, M = Reject, O = Fail> {
    inner: S,
    layer: DedupLayer<F, K, M, O>,
}

impl<S, F, K, M, O> Dedup<S, F, K, M, O> {
    /// Gives access to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gives mutable access to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back. Executions that run go on, and handles of the layer still see
    /// them.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// Executes the calls of a mode.
pub trait Mode<Request, S: Service<Request>, K, O>: Sized {
    /// The response of the layer's service.
    type Response;
    /// The error of the layer's service.
    type Error;
    /// The future of a call.
    type Future: Future<Output = Result<Self::Response, Self::Error>>;

    /// Calls the service.
    fn call<F>(inner: &mut S, layer: &DedupLayer<F, K, Self, O>, request: Request) -> Self::Future
    where
        F: AskRequest<Request, Option<K>>;
}

/// The job of the call, if there is one.
pub(super) fn job_of(membership: &Membership) -> Option<Arc<Core>> {
    membership.with_job(Arc::clone)
}

/// Takes the called instance for the execution, and leaves a clone for the next calls.
pub(super) fn take_called<S: Clone>(inner: &mut S) -> S {
    let next = inner.clone();
    mem::replace(inner, next)
}

pub(super) fn emit_duplicate(membership: &Membership, of: Option<JobId>, joined: bool) {
    membership.with_job(|job| {
        // Another job does the work, so this one must not report its start.
        job.flags.hold_back();
        context::emit(job, || EventKind::Duplicate { of, joined });
    });
}

impl<S, F, K, M, O> Layer<S> for DedupLayer<F, K, M, O>
where
    S: CloneService,
    F: Clone,
    M: Clone,
    O: Clone,
{
    type Service = Dedup<S, F, K, M, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Dedup {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, F, K, M, O, Request> Service<Request> for Dedup<S, F, K, M, O>
where
    S: Service<Request>,
    F: AskRequest<Request, Option<K>>,
    K: Clone + Eq + Hash,
    M: Mode<Request, S, K, O>,
{
    type Response = M::Response;
    type Error = M::Error;
    type Future = ResponseFuture<M::Future>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        ResponseFuture::new(M::call(&mut self.inner, &self.layer, request))
    }
}

impl<S: Clone, F: Clone, K, M: Clone, O: Clone> Clone for Dedup<S, F, K, M, O> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, F, K, M: fmt::Debug, O> fmt::Debug for Dedup<S, F, K, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
