//! The call of the service, which holds its key.

use std::{
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::keys::Lead;
use crate::job::{membership::Membership, oneshot::Oneshot};

pin_project! {
    /// Makes a service ready and calls it, and holds the key until it frees it.
    pub(super) struct Execution<S, Request, K>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        call: Oneshot<S, Request>,
        lead: Option<Lead<K>>,
    }
}

impl<S, Request, K> Execution<S, Request, K>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    /// Of a service that is not ready yet. The job, if there is one, is held back until it is.
    pub(super) fn new(
        service: S,
        request: Request,
        lead: Option<Lead<K>>,
        membership: &Membership,
    ) -> Self {
        Self {
            call: Oneshot::new(service, request, membership),
            lead,
        }
    }

    /// Takes over the key that it holds.
    pub(super) fn take_lead(self: Pin<&mut Self>) -> Option<Lead<K>> {
        self.project().lead.take()
    }

    /// Drops the call, and what it borrowed from the service.
    pub(super) fn clear(self: Pin<&mut Self>) {
        self.project().call.clear();
    }

    /// Frees the key, after the call and what it borrowed from the service. The layer does so before its
    /// caller sees the result.
    pub(super) fn release(self: Pin<&mut Self>) {
        let this = self.project();
        this.call.clear();
        *this.lead = None;
    }

    /// Polls in the job of this membership.
    #[inline(always)]
    pub(super) fn poll(
        self: Pin<&mut Self>,
        membership: &mut Membership,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let this = self.project();
        this.call.poll(membership, cx, |job| {
            if let Some(lead) = this.lead {
                lead.set_job(job);
            }
        })
    }
}
