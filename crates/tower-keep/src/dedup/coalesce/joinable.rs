//! The execution that callers join.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::super::{cache::Asked, execution::Execution, keys::Lead, mode::KeepMode};
use crate::{
    error::panic_message,
    job::{
        context::{self, Phase, Surroundings},
        core::{
            Core,
            sharing::{ExecutionId, SharedExecution},
        },
        membership::Membership,
        verdict::{self, Carried, Verdict},
    },
};

/// How it ended.
pub(super) enum Landing<T, E> {
    Done(Result<T, E>, Carried),
    /// With what the panic said.
    Panicked(Option<Arc<str>>),
}

impl<T: Clone, E: Clone> Clone for Landing<T, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Done(result, said) => Self::Done(result.clone(), said.clone()),
            Self::Panicked(message) => Self::Panicked(message.clone()),
        }
    }
}

pin_project! {
    /// The execution that callers join, as the future of a flight. It runs in the leader's job, or in a job
    /// that a layer inside begins, whichever caller polls it.
    pub(super) struct Joinable<S, Request, K, Shared, M>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        id: ExecutionId,
        #[pin]
        execution: Execution<S, Request, K>,
        share: fn(S::Error) -> Shared,
        mode: M,
        membership: Membership,
        // Dropped last: the job learns that it is over.
        shared: Option<SharedExecution>,
    }
}

impl<S, Request, K, Shared, M> Joinable<S, Request, K, Shared, M>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(
        id: ExecutionId,
        execution: impl FnOnce(&Membership) -> Execution<S, Request, K>,
        share: fn(S::Error) -> Shared,
        mode: M,
        job: Option<Arc<Core>>,
    ) -> Self {
        // A leader that was cancelled before the execution began does not share its job: its followers were not cancelled.
        let shared = job.and_then(SharedExecution::new);
        let membership =
            Membership::for_execution(shared.as_ref().map(|shared| Arc::clone(shared.job())));
        Self {
            id,
            execution: execution(&membership),
            share,
            mode,
            membership,
            shared,
        }
    }
}

impl<S, Request, K, Shared, M> Future for Joinable<S, Request, K, Shared, M>
where
    S: Service<Request>,
    S::Response: Clone + Send + Sync + 'static,
    S::Error: fmt::Display,
    K: Clone + Eq + Hash,
    M: KeepMode<S::Response, S::Error>,
{
    type Output = Landing<S::Response, Shared>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut execution = this.execution;
        // An execution that no job began is nobody's child: the caller that polls it may leave before the others.
        let mut nobody = None;
        let _alone = this
            .shared
            .is_none()
            .then(|| context::enter(&mut nobody, Phase::Running));
        // Nor is it under the limits of the caller that polls it.
        let job = this.shared.as_ref().map(|shared| shared.job().id());
        let mut surroundings = Surroundings::of_execution(*this.id, job);
        let poll = || {
            let polled = surroundings.around(|| execution.as_mut().poll(this.membership, cx));
            let result = ready!(polled);
            let said = verdict::peek();
            // First, as a panic of what it drops is the execution's too.
            execution.as_mut().clear();
            if let Some(lead) = execution.as_mut().take_lead() {
                cache(this.mode, lead, this.membership, &result, said.verdict);
            }
            this.membership.finish(&result);
            // The callers leave the note again, each in its own stack.
            verdict::clear();
            Poll::Ready(Landing::Done(result.map_err(this.share), said))
        };
        // A panic belongs to no single caller, that of an error's `Display` or conversion neither. After it the
        // execution is dropped, not polled again.
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
            verdict::clear();
            Poll::Ready(Landing::Panicked(panic_message(panic)))
        })
    }
}

/// Caches a success for calls that come later, and frees the key.
fn cache<T, E, K, M>(
    mode: &M,
    lead: Lead<K>,
    membership: &Membership,
    result: &Result<T, E>,
    stop: Option<Verdict>,
) where
    T: Clone + Send + Sync + 'static,
    K: Clone + Eq + Hash,
    M: KeepMode<T, E>,
{
    let (Some(limits), Ok(response)) = (mode.kept().0, result) else {
        return;
    };
    let cancelled = membership
        .with_job(|job| job.state().has_fired())
        .unwrap_or(false);
    // What a layer inside answered instead of the service is no result, nor is what work hands out that was told to stop.
    let stopped = stop.is_some_and(|stop| stop.holds(result));
    if !cancelled && !stopped && mode.keeps(result) {
        lead.cache(Arc::new(response.clone()), Asked::now(limits));
    }
}
