//! The `latest` and `debounce` modes: a call takes the slot of its key, or waits for it.

use std::{hash::Hash, sync::Arc};

use tower_service::Service;

use super::{
    super::{
        bounds::CloneService,
        error::Duplicate,
        execution::Execution,
        in_flight::ListedKey,
        key_table::KeyTable,
        layer::DedupLayer,
        mode::{Debounce, Latest},
        service::{Mode, job_of, take_called},
    },
    future::ReplaceFuture,
    slot_table::{SlotAdmission, SlotGuard},
};
use crate::{
    display_error::DisplayError,
    for_request::AskRequest,
    job::{core::Core, membership::Membership, panic::before_service},
    reject::OnReject,
};

/// Makes the call, in the slot that `take` returns for the request's key.
fn call_in_slot<S, F, K, M, O, Request>(
    inner: &mut S,
    layer: &DedupLayer<F, K, M, O>,
    request: Request,
    take: impl FnOnce(
        &KeyTable<K>,
        K,
        Option<Arc<ListedKey<K>>>,
        Option<&Arc<Core>>,
    ) -> (SlotGuard<K>, SlotAdmission),
) -> ReplaceFuture<S, Request, K, O>
where
    S: Service<Request> + Clone,
    F: AskRequest<Request, Option<K>>,
    K: Clone + Eq + Hash,
    O: Clone,
{
    let membership = Membership::without_call();
    let taken = before_service(|| {
        let key = layer.key.ask(&request)?;
        let (job, listed) = (job_of(&membership), layer.keys.listed(&key));
        Some(take(&layer.keys, key, listed, job.as_ref()))
    });
    let execution = Execution::new(take_called(inner), request, None, &membership);
    ReplaceFuture::new(execution, taken, layer.on_reject.clone(), membership)
}

impl<S, K, O, Request> Mode<Request, S, K, O> for Latest
where
    S: Service<Request> + CloneService,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: DisplayError,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ReplaceFuture<S, Request, K, O>;

    fn call<F>(inner: &mut S, layer: &DedupLayer<F, K, Self, O>, request: Request) -> Self::Future
    where
        F: AskRequest<Request, Option<K>>,
    {
        call_in_slot(inner, layer, request, |keys, key, listed, job| {
            keys.slots.take_slot(key, listed, job)
        })
    }
}

impl<S, K, O, Request> Mode<Request, S, K, O> for Debounce
where
    S: Service<Request> + CloneService,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: DisplayError,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ReplaceFuture<S, Request, K, O>;

    fn call<F>(inner: &mut S, layer: &DedupLayer<F, K, Self, O>, request: Request) -> Self::Future
    where
        F: AskRequest<Request, Option<K>>,
    {
        call_in_slot(inner, layer, request, |keys, key, listed, job| {
            keys.slots.queue(key, listed, job, &layer.mode)
        })
    }
}
