//! The shared execution of a flight: runs the call in the leader's job, caches its success, catches
//! its panic.

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

use super::super::{
    cache::CacheAccess, execution::Execution, key_table::KeyGuard, mode::CacheMode,
};
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

/// The outcome of a joined execution.
pub(super) enum ExecutionOutcome<T, E> {
    Done(Result<T, E>, Carried),
    /// With the panic's message.
    Panicked(Option<Arc<str>>),
}

impl<T: Clone, E: Clone> Clone for ExecutionOutcome<T, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Done(result, carried) => Self::Done(result.clone(), carried.clone()),
            Self::Panicked(message) => Self::Panicked(message.clone()),
        }
    }
}

pin_project! {
    /// The future of a flight. It runs in the leader's job, or in a job that a layer inside begins,
    /// whichever caller polls it.
    pub(super) struct JoinedExecution<S, Request, K, Shared, C>
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
        cache: C,
        membership: Membership,
        // Dropped last: the job learns that the execution is over.
        shared: Option<SharedExecution>,
    }
}

impl<S, Request, K, Shared, C> JoinedExecution<S, Request, K, Shared, C>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(
        id: ExecutionId,
        execution: impl FnOnce(&Membership) -> Execution<S, Request, K>,
        share: fn(S::Error) -> Shared,
        cache: C,
        job: Option<Arc<Core>>,
    ) -> Self {
        // A leader that was cancelled before the execution began does not share its job: its
        // followers were not cancelled.
        let shared = job.and_then(SharedExecution::new);
        let membership =
            Membership::for_execution(shared.as_ref().map(|shared| Arc::clone(shared.job())));
        Self {
            id,
            execution: execution(&membership),
            share,
            cache,
            membership,
            shared,
        }
    }
}

impl<S, Request, K, Shared, C> Future for JoinedExecution<S, Request, K, Shared, C>
where
    S: Service<Request>,
    S::Response: Clone + Send + Sync + 'static,
    S::Error: fmt::Display,
    K: Clone + Eq + Hash,
    C: CacheMode<Request, S::Response, S::Error>,
{
    type Output = ExecutionOutcome<S::Response, Shared>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut execution = this.execution;
        // An execution without a job has no parent: the polling caller may leave before the others.
        let mut no_job = None;
        let _without_job = this
            .shared
            .is_none()
            .then(|| context::enter(&mut no_job, Phase::Running));
        // The limits of the polling caller do not apply to it.
        let job = this.shared.as_ref().map(|shared| shared.job().id());
        let mut surroundings = Surroundings::of_execution(*this.id, job);
        let poll = || {
            let polled = surroundings.around(|| execution.as_mut().poll(this.membership, cx));
            let result = ready!(polled);
            let carried = verdict::peek();
            // First, as a panic in this drop belongs to the execution.
            execution.as_mut().clear();
            if let Some(guard) = execution.as_mut().take_guard() {
                store(this.cache, guard, this.membership, &result, carried.verdict);
            }
            this.membership.finish(&result);
            // Each caller leaves the verdict again, in its own stack.
            verdict::clear();
            Poll::Ready(ExecutionOutcome::Done(result.map_err(this.share), carried))
        };
        // A panic belongs to no single caller, not even one of an error's `Display` or conversion.
        // After it the execution is dropped, not polled again.
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
            verdict::clear();
            Poll::Ready(ExecutionOutcome::Panicked(panic_message(panic)))
        })
    }
}

/// Caches a success for later calls, and frees the key.
fn store<Request, T, E, K, C>(
    cache: &C,
    guard: KeyGuard<K>,
    membership: &Membership,
    result: &Result<T, E>,
    stop: Option<Verdict>,
) where
    T: Clone + Send + Sync + 'static,
    K: Clone + Eq + Hash,
    C: CacheMode<Request, T, E>,
{
    let (Some(limits), Ok(response)) = (cache.limits(), result) else {
        return;
    };
    let cancelled = membership
        .with_job(|job| job.state().has_fired())
        .unwrap_or(false);
    // Neither a response that a layer inside gave in the service's place, nor the output of
    // cancelled work, is a result.
    let stopped = stop.is_some_and(|stop| stop.holds(result));
    if !cancelled && !stopped && cache.is_cacheable(result) {
        guard.cache(Arc::new(response.clone()), CacheAccess::now(limits));
    }
}
