//! The execution that callers join, and the response future of a caller.

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

use super::{
    error::Duplicate, execution::Execution, flight::Caller, kept::Asked, keys::Lead,
    mode::KeepMode, share::ShareError, wait_graph::Waits,
};
use crate::{
    error::panic_message,
    event::JobId,
    job::{
        context::{self, Phase, Surroundings},
        core::{
            Core,
            followers::Following,
            sharing::{ExecutionId, SharedExecution},
        },
        panic,
        seat::Seat,
        stop::{self, Carried, Stop, StopKind},
    },
    reject::OnReject,
};

/// How a flight ended.
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
    /// The execution that callers join, as the future of a flight. It runs in the first caller's job, or in one that
    /// a layer inside begins, whoever polls it.
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
        seat: Seat,
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
        execution: impl FnOnce(&Seat) -> Execution<S, Request, K>,
        share: fn(S::Error) -> Shared,
        mode: M,
        job: Option<Arc<Core>>,
    ) -> Self {
        // One that was told to stop before it began is nobody's to share: those that join were not.
        let shared = job.and_then(SharedExecution::new);
        let seat = Seat::for_execution(shared.as_ref().map(|shared| Arc::clone(shared.job())));
        Self {
            id,
            execution: execution(&seat),
            share,
            mode,
            seat,
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
        // Nor is it under the limits of the one that polls it.
        let job = this.shared.as_ref().map(|shared| shared.job().id());
        let mut surroundings = Surroundings::of_execution(*this.id, job);
        let poll = || {
            let polled = surroundings.around(|| execution.as_mut().poll(this.seat, cx));
            let result = ready!(polled);
            let said = stop::peek();
            // First, as a panic of what it drops is the execution's too.
            execution.as_mut().clear();
            if let Some(lead) = execution.as_mut().take_lead() {
                keep(this.mode, lead, this.seat, &result, said.stop);
            }
            this.seat.finish(&result);
            // The callers leave the note again, each in its own stack.
            stop::clear();
            Poll::Ready(Landing::Done(result.map_err(this.share), said))
        };
        // A panic belongs to no single caller, that of an error's `Display` or conversion neither. After it the
        // execution is dropped, not polled again.
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
            stop::clear();
            Poll::Ready(Landing::Panicked(panic_message(panic)))
        })
    }
}

/// Keeps a success for calls that come later, and frees the key.
fn keep<T, E, K, M>(mode: &M, lead: Lead<K>, seat: &Seat, result: &Result<T, E>, stop: Option<Stop>)
where
    T: Clone + Send + Sync + 'static,
    K: Clone + Eq + Hash,
    M: KeepMode<T, E>,
{
    let (Some(limits), Ok(response)) = (mode.kept().0, result) else {
        return;
    };
    let cancelled = seat
        .with_job(|job| job.state().has_fired())
        .unwrap_or(false);
    // What a layer inside answered instead of the service is no result, nor is what work hands out that was told to stop.
    let stopped = stop.is_some_and(|stop| stop.holds(result));
    if !cancelled && !stopped && mode.keeps(result) {
        lead.keep(Arc::new(response.clone()), Asked::now(limits));
    }
}

pin_project! {
    /// The response future of [`Dedup`](super::Dedup) where duplicates join.
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
        seat: Seat,
    }
}

/// What a call holds until it ends, next to its share of the execution.
pub(super) struct Links {
    _following: Option<Following>,
    /// Where another execution's code made it.
    _waits: Option<Waits>,
}

impl Links {
    pub(super) fn of(following: Option<Following>, waits: Option<Waits>) -> Option<Box<Self>> {
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
        // Without a key there is nothing to join.
        Alone { #[pin] execution: Execution<S, Request, K> },
        Joined {
            caller: Caller<Landing<S::Response, Shared>>,
            of: Option<JobId>,
            // Boxed, as few calls have one.
            links: Option<Box<Links>>,
        },
        // It would have waited for itself.
        Rejected { duplicate: Option<Duplicate> },
        Kept { response: Option<Arc<S::Response>> },
    }
}

impl<S, Request, K, Shared, O> JoinFuture<S, Request, K, Shared, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(state: State<S, Request, K, Shared>, on_reject: O, seat: Seat) -> Self {
        Self {
            state,
            on_reject,
            seat,
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
                let result = ready!(execution.as_mut().poll(this.seat, cx));
                execution.release();
                this.seat
                    .ask(|| result.map_err(|error| this.on_reject.pass(error)))
            }
            StateProj::Kept { response } => {
                let Some(response) = response.take() else {
                    panic!("a call was polled after it was ready");
                };
                ready!(this.seat.run(|| Poll::Ready(Ok((*response).clone()))))
            }
            StateProj::Rejected { duplicate } => {
                let Some(duplicate) = duplicate.take() else {
                    panic!("a call was polled after it was ready");
                };
                stop::leave(StopKind::Duplicate, this.on_reject.responds());
                this.seat.ask(|| this.on_reject.reject(duplicate))
            }
            StateProj::Joined { caller, of, links } => {
                this.seat.with_job(|job| {
                    // A cancelled caller that is given time to clean up, and is the only one: so the work is told.
                    if *of == Some(job.id()) {
                        job.stop_own_work(|| caller.close());
                    }
                });
                let landing = ready!(this.seat.run(|| caller.poll(cx)));
                *links = None;
                match landing {
                    Landing::Done(result, said) => {
                        stop::leave_carried(said);
                        result.map_err(|shared| this.on_reject.give(shared))
                    }
                    Landing::Panicked(message) => {
                        this.seat
                            .with_job(|job| job.note_panic(panic::text(message.as_deref())));
                        let panicked = Duplicate::panicked(*of, message);
                        let result = this.seat.ask(|| this.on_reject.reject(panicked));
                        stop::leave(StopKind::Panicked, this.on_reject.responds());
                        result
                    }
                }
            }
        };
        this.seat
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
