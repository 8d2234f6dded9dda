//! An execution: makes the service ready, calls it, and holds the key meanwhile.

use std::{
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::key_table::KeyGuard;
use crate::job::{membership::Membership, oneshot::Oneshot};

pin_project! {
    /// Makes a service ready and calls it. Holds the key until `release` or drop.
    pub(super) struct Execution<S, Request, K>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        call: Oneshot<S, Request>,
        guard: Option<KeyGuard<K>>,
    }
}

impl<S, Request, K> Execution<S, Request, K>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    /// Takes a service that is not ready yet. The job, if there is one, starts only once the
    /// service is ready.
    pub(super) fn new(
        service: S,
        request: Request,
        guard: Option<KeyGuard<K>>,
        membership: &Membership,
    ) -> Self {
        Self {
            call: Oneshot::new(service, request, membership),
            guard,
        }
    }

    /// Takes the key's guard out.
    pub(super) fn take_guard(self: Pin<&mut Self>) -> Option<KeyGuard<K>> {
        self.project().guard.take()
    }

    /// Drops the call, and everything that it borrowed from the service.
    pub(super) fn clear(self: Pin<&mut Self>) {
        self.project().call.clear();
    }

    /// Drops the call, then frees the key. The layer does so before its caller sees the result.
    pub(super) fn release(self: Pin<&mut Self>) {
        let this = self.project();
        this.call.clear();
        *this.guard = None;
    }

    /// Polls the call in the job of this membership.
    #[inline(always)]
    pub(super) fn poll(
        self: Pin<&mut Self>,
        membership: &mut Membership,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let this = self.project();
        this.call.poll(membership, cx, |job| {
            if let Some(guard) = this.guard {
                guard.set_job(job);
            }
        })
    }
}
