//! The response future of a call in join mode.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    super::{error::Duplicate, execution::Execution},
    flight::Caller,
    joined_execution::ExecutionOutcome,
    share_error::ShareError,
    wait_graph::WaitGuard,
};
use crate::{
    event::JobId,
    job::{
        core::followers::Following,
        membership::Membership,
        panic,
        verdict::{self, VerdictKind},
    },
    reject::OnReject,
};

pin_project! {
    /// The response future of [`Dedup`](crate::dedup::Dedup) in join mode.
    #[must_use = "futures do nothing unless polled"]
    pub struct JoinFuture<S, Request, K, Shared, O>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        state: State<S, Request, K, Shared>,
        on_reject: O,
        membership: Membership,
    }
}

/// The guards that a call holds until it ends, besides its share of the execution.
pub(super) struct Links {
    _following: Option<Following>,
    /// Present if another execution's code made the call.
    _waits: Option<WaitGuard>,
}

impl Links {
    #[inline]
    pub(super) fn of(following: Option<Following>, waits: Option<WaitGuard>) -> Option<Box<Self>> {
        let any = following.is_some() || waits.is_some();
        any.then(|| {
            Box::new(Self {
                _following: following,
                _waits: waits,
            })
        })
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<S, Request, K, Shared>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        // A call without a key.
        Alone { #[pin] execution: Execution<S, Request, K> },
        Joined {
            caller: Caller<ExecutionOutcome<S::Response, Shared>>,
            of: Option<JobId>,
            // Boxed, as few calls have one.
            links: Option<Box<Links>>,
        },
        // The call would have waited for itself.
        Rejected { duplicate: Option<Duplicate> },
        Cached { response: Option<Arc<S::Response>> },
    }
}

impl<S, Request, K, Shared, O> JoinFuture<S, Request, K, Shared, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(
        state: State<S, Request, K, Shared>,
        on_reject: O,
        membership: Membership,
    ) -> Self {
        Self {
            state,
            on_reject,
            membership,
        }
    }
}

impl<S, Request, K, O> Future for JoinFuture<S, Request, K, O::Shared, O>
where
    S: Service<Request>,
    S::Response: Clone + Send + Sync + 'static,
    S::Error: fmt::Display,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error>
        + ShareError<S::Error, Given = <O as OnReject<Duplicate, S::Response, S::Error>>::Error>,
    O::Given: fmt::Display,
{
    type Output = Result<S::Response, O::Given>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Alone { mut execution } => {
                let result = ready!(execution.as_mut().poll(this.membership, cx));
                execution.release();
                this.membership
                    .ask(|| result.map_err(|error| this.on_reject.pass(error)))
            }
            StateProj::Cached { response } => {
                let Some(response) = response.take() else {
                    panic!("a call was polled after it was ready");
                };
                ready!(this.membership.run(|| Poll::Ready(Ok((*response).clone()))))
            }
            StateProj::Rejected { duplicate } => {
                let Some(duplicate) = duplicate.take() else {
                    panic!("a call was polled after it was ready");
                };
                verdict::leave(VerdictKind::Duplicate, this.on_reject.responds());
                this.membership.ask(|| this.on_reject.reject(duplicate))
            }
            StateProj::Joined { caller, of, links } => {
                this.membership.with_job(|job| {
                    // A cancelled leader with a grace period and without followers: its work learns
                    // of the cancellation.
                    if *of == Some(job.id()) {
                        job.stop_own_work(|| caller.close());
                    }
                });
                let outcome = ready!(this.membership.wait(|| caller.poll(cx)));
                // Without an outcome, the service's `Clone` panicked.
                let outcome = outcome.unwrap_or(ExecutionOutcome::Panicked(None));
                *links = None;
                match outcome {
                    ExecutionOutcome::Done(result, carried) => {
                        verdict::leave_carried(carried);
                        result.map_err(|shared| this.on_reject.give(shared))
                    }
                    ExecutionOutcome::Panicked(message) => {
                        this.membership
                            .with_job(|job| job.note_panic(panic::text(message.as_deref())));
                        let panicked = Duplicate::panicked(*of, message);
                        let result = this.membership.ask(|| this.on_reject.reject(panicked));
                        verdict::leave(VerdictKind::Panicked, this.on_reject.responds());
                        result
                    }
                }
            }
        };
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        Poll::Ready(result)
    }
}

impl<S, Request, K, Shared, O> fmt::Debug for JoinFuture<S, Request, K, Shared, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinFuture").finish_non_exhaustive()
    }
}
