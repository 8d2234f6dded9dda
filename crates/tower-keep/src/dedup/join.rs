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
    error::{Duplicate, SharedError},
    execution::Execution,
    flight::Caller,
};
use crate::{
    error::BoxError,
    event::JobId,
    job::{
        core::Core,
        scope::{Entered, Phase},
        seat::Seat,
        stop::{self, Stop, StopKind},
        surroundings::Surroundings,
    },
    reject::{Fail, FailWith, OnReject, RespondWith},
};

/// How an error reaches several callers.
pub trait ShareError<Error> {
    /// The form in which it is shared.
    type Shared: Clone + Send + Sync + 'static;
    /// The form in which each caller gets it.
    type Given;

    /// Makes it shareable.
    fn share(error: Error) -> Self::Shared;

    /// Gives one caller its share; the only one gets the error as it was.
    fn give(&self, shared: Self::Shared) -> Self::Given;
}

impl<Error: Into<BoxError>> ShareError<Error> for Fail {
    type Shared = Arc<BoxError>;
    type Given = BoxError;

    fn share(error: Error) -> Arc<BoxError> {
        Arc::new(error.into())
    }

    fn give(&self, shared: Arc<BoxError>) -> BoxError {
        Arc::try_unwrap(shared).unwrap_or_else(|shared| SharedError(shared).into())
    }
}

impl<F, Given, Error> ShareError<Error> for FailWith<F>
where
    F: Fn(Duplicate) -> Given,
    Error: Into<Given> + Clone + Send + Sync + 'static,
{
    type Shared = Error;
    type Given = Given;

    fn share(error: Error) -> Error {
        error
    }

    fn give(&self, shared: Error) -> Given {
        shared.into()
    }
}

impl<F, Error> ShareError<Error> for RespondWith<F>
where
    Error: Clone + Send + Sync + 'static,
{
    type Shared = Error;
    type Given = Error;

    fn share(error: Error) -> Error {
        error
    }

    fn give(&self, shared: Error) -> Error {
        shared
    }
}

/// How a flight ended.
pub(super) enum Landing<T, E> {
    Done(Result<T, E>, Option<Stop>),
    Panicked,
}

impl<T: Clone, E: Clone> Clone for Landing<T, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Done(result, stop) => Self::Done(result.clone(), *stop),
            Self::Panicked => Self::Panicked,
        }
    }
}

pin_project! {
    /// The execution that callers join, as the future of a flight. It runs in the first caller's job, or in one that
    /// a layer inside begins, whoever polls it.
    pub(super) struct Joinable<S, Request, K, Shared>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        execution: Execution<S, Request, K>,
        share: fn(S::Error) -> Shared,
        seat: Seat,
        shares: Shares,
    }
}

impl<S, Request, K, Shared> Joinable<S, Request, K, Shared>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(
        execution: impl FnOnce(&Seat) -> Execution<S, Request, K>,
        share: fn(S::Error) -> Shared,
        job: Option<Arc<Core>>,
    ) -> Self {
        let shares = Shares(job.clone());
        if let Some(job) = &shares.0 {
            job.share_execution();
        }
        let seat = Seat::for_execution(job);
        Self {
            execution: execution(&seat),
            share,
            seat,
            shares,
        }
    }
}

impl<S, Request, K, Shared> Future for Joinable<S, Request, K, Shared>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    K: Clone + Eq + Hash,
{
    type Output = Landing<S::Response, Shared>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let execution = this.execution;
        // An execution that no job began is nobody's child: the caller that polls it may leave before the others.
        let mut nobody = None;
        let _alone = this
            .shares
            .0
            .is_none()
            .then(|| Entered::new(&mut nobody, Phase::Running));
        // Nor is it under the limits of the one that polls it.
        let poll = || Surroundings::default().around(|| execution.poll(this.seat, cx));
        // A panic belongs to no single caller. After it the execution is dropped, not polled again.
        let polled = catch_unwind(AssertUnwindSafe(poll));
        let Ok(polled) = polled else {
            return Poll::Ready(Landing::Panicked);
        };
        let result = ready!(polled);
        let stop = stop::read();
        this.seat.finish(&result);
        // The callers leave the note again, each in its own stack.
        stop::take();
        Poll::Ready(Landing::Done(result.map_err(this.share), stop))
    }
}

/// Fires the token of the job whose execution was shared, once that is over and the job was cancelled or left.
struct Shares(Option<Arc<Core>>);

impl Drop for Shares {
    fn drop(&mut self) {
        if let Some(job) = &self.0 {
            job.shared_execution_over();
        }
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
        Joined { caller: Caller<Landing<S::Response, Shared>>, of: Option<JobId> },
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
    S::Response: Clone,
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
            StateProj::Alone { execution } => {
                ready!(execution.poll(this.seat, cx)).map_err(|error| this.on_reject.pass(error))
            }
            StateProj::Joined { caller, of } => match ready!(this.seat.run(|| caller.poll(cx))) {
                Landing::Done(result, stop) => {
                    if let Some(stop) = stop {
                        stop::leave_again(stop);
                    }
                    result.map_err(|shared| this.on_reject.give(shared))
                }
                Landing::Panicked => {
                    let result = this.on_reject.reject(Duplicate::panicked(*of));
                    stop::leave(StopKind::Panicked, this.on_reject.responds());
                    result
                }
            },
        };
        this.seat.finish(&result);
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
