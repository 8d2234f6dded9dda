//! The response future of a call that may share an exchange.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    super::{
        super::{error::Duplicate, execution::Execution},
        flight::Caller,
        future::Links,
        joined_execution::ExecutionOutcome,
        share_error::ShareError,
    },
    CollapsePolicy,
};
use crate::{
    error::BoxError,
    event::JobId,
    job::{
        membership::Membership,
        panic,
        verdict::{self, VerdictKind},
    },
    reject::{Fail, OnReject},
};

// `A` is the policy's answer. It is a parameter, as a future with `P::Answer` in it would be `Send`
// only where the compiler can prove all bounds of the policy again: not in every `async` block.
pin_project! {
    /// The response future of [`Dedup`](crate::dedup::Dedup) in collapse mode.
    #[must_use = "futures do nothing unless polled"]
    pub struct CollapseFuture<S, Request, K, A, P, O>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        state: State<S, Request, K, A>,
        on_reject: O,
        policy: PhantomData<fn() -> P>,
        membership: Membership,
    }
}

/// A change on its way. On drop it frees the keys of exchanges that began before: they go on for
/// their callers. So a call that is dropped before its answer, or panics, counts as a change too.
pub(super) struct Change(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Change {
    pub(super) fn new(free_keys: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(free_keys)))
    }

    /// Nothing was changed.
    fn refused(mut self) {
        self.0 = None;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|free_keys| free_keys());
    }
}

/// What a caller needs for its own exchange.
pub(super) struct Own<S, Request> {
    pub(super) service: S,
    pub(super) request: Request,
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<S, Request, K, A>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        // A request without a key, or of a caller that may not have the shared answer.
        Alone {
            #[pin]
            execution: Execution<S, Request, K>,
            // Dropped after the execution.
            change: Option<Change>,
        },
        Joined {
            caller: Caller<ExecutionOutcome<A, Arc<BoxError>>>,
            of: Option<JobId>,
            // Boxed, as few calls have one.
            links: Option<Box<Links>>,
            own: Option<Own<S, Request>>,
        },
        // The call would have waited for itself.
        Rejected { duplicate: Option<Duplicate> },
    }
}

impl<S, Request, K, A, P, O> CollapseFuture<S, Request, K, A, P, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(
        state: State<S, Request, K, A>,
        on_reject: O,
        membership: Membership,
    ) -> Self {
        Self {
            state,
            on_reject,
            policy: PhantomData,
            membership,
        }
    }
}

impl<S, Request, K, A, P, O> Future for CollapseFuture<S, Request, K, A, P, O>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    A: Clone + Send + Sync + 'static,
    P: CollapsePolicy<S, Request, Answer = A>,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, P::Response, BoxError>,
    O::Error: fmt::Display,
{
    type Output = Result<P::Response, O::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = loop {
            match this.state.as_mut().project() {
                StateProj::Alone {
                    mut execution,
                    change,
                } => {
                    let result = ready!(execution.as_mut().poll(this.membership, cx));
                    execution.release();
                    // After an error too: the service may have done the work.
                    match result.as_ref().map_or(true, P::may_have_changed) {
                        true => *change = None,
                        false => change.take().into_iter().for_each(Change::refused),
                    }
                    break this.membership.ask(|| match result {
                        Ok(response) => Ok(P::pass(response)),
                        Err(error) => Err(this.on_reject.pass(error.into())),
                    });
                }
                StateProj::Rejected { duplicate } => {
                    let Some(duplicate) = duplicate.take() else {
                        panic!("a call was polled after it was ready");
                    };
                    verdict::leave(VerdictKind::Duplicate, this.on_reject.responds());
                    break this.membership.ask(|| this.on_reject.reject(duplicate));
                }
                StateProj::Joined {
                    caller,
                    of,
                    links,
                    own,
                } => {
                    this.membership.with_job(|job| {
                        // A cancelled leader with a grace period and without followers: its work
                        // learns of the cancellation.
                        if *of == Some(job.id()) {
                            job.stop_own_work(|| caller.close());
                        }
                    });
                    let outcome = ready!(this.membership.wait(|| caller.poll(cx)));
                    *links = None;
                    match outcome.unwrap_or(ExecutionOutcome::Panicked(None)) {
                        ExecutionOutcome::Done(Ok(answer), carried) => {
                            let Some(Own { service, request }) = own.take() else {
                                panic!("a call was polled after it was ready");
                            };
                            if let Some(response) =
                                this.membership.ask(|| P::claim(answer, &request))
                            {
                                verdict::leave_carried(carried);
                                break Ok(response);
                            }
                            // The job was held back for the shared exchange. It starts now.
                            let execution = Execution::new(service, request, None, this.membership);
                            let change = None;
                            this.state.set(State::Alone { execution, change });
                        }
                        ExecutionOutcome::Done(Err(shared), carried) => {
                            verdict::leave_carried(carried);
                            let error = ShareError::<BoxError>::give(&Fail, shared);
                            break Err(this.on_reject.pass(error));
                        }
                        ExecutionOutcome::Panicked(message) => {
                            this.membership
                                .with_job(|job| job.note_panic(panic::text(message.as_deref())));
                            let panicked = Duplicate::panicked(*of, message);
                            let result = this.membership.ask(|| this.on_reject.reject(panicked));
                            verdict::leave(VerdictKind::Panicked, this.on_reject.responds());
                            break result;
                        }
                    }
                }
            }
        };
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        Poll::Ready(result)
    }
}

impl<S, Request, K, A, P, O> fmt::Debug for CollapseFuture<S, Request, K, A, P, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollapseFuture").finish_non_exhaustive()
    }
}
