//! The response future of a scripted service.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    Step,
    calls::{End, Ticket},
    step::{Act, Running},
};

/// The response of a [`Scripted`](crate::Scripted) service.
///
/// `Send` if the request, the response and the error are, and always `Unpin`.
///
/// # Panics
///
/// Polling panics if the step says so, and after completion.
#[must_use = "futures do nothing unless polled"]
pub struct ScriptedFuture<Req, Res, E = &'static str> {
    state: State<Req, Res, E>,
    ticket: Ticket<Req>,
}

enum State<Req, Res, E> {
    Waiting(Step<Req, Res, E>, Req),
    Running(Running<Res, E>),
    Never,
    Done,
}

// No field is pinned, apart from the boxed futures.
impl<Req, Res, E> Unpin for ScriptedFuture<Req, Res, E> {}

impl<Req, Res, E> ScriptedFuture<Req, Res, E> {
    pub(crate) fn new(step: Step<Req, Res, E>, request: Req, ticket: Ticket<Req>) -> Self {
        let state = match step.act {
            Act::Never => State::Never,
            _ => State::Waiting(step, request),
        };
        Self { state, ticket }
    }
}

impl<Req, Res, E> State<Req, Res, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Res, E>> {
        loop {
            match self {
                Self::Waiting(step, _) => {
                    ready!(step.wait.poll(cx));
                    // Set first, because the step may panic.
                    if let Self::Waiting(step, request) = mem::replace(self, Self::Done) {
                        match step.act {
                            Act::Give(outcome) => return Poll::Ready(outcome),
                            Act::With(outcome) => return Poll::Ready(outcome(request)),
                            Act::Run(work) => *self = Self::Running(work(request)),
                            Act::Panic(message) | Act::PanicInCall(message) => panic!("{message}"),
                            Act::Never => *self = Self::Never,
                        }
                    }
                }
                Self::Running(work) => {
                    let outcome = ready!(work.as_mut().poll(cx));
                    *self = Self::Done;
                    return Poll::Ready(outcome);
                }
                Self::Never => return Poll::Pending,
                Self::Done => panic!("a scripted response was polled after it completed"),
            }
        }
    }
}

impl<Req, Res, E> Future for ScriptedFuture<Req, Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = ready!(this.ticket.watch(|| this.state.poll(cx)));
        this.ticket.end(End::Completed);
        Poll::Ready(outcome)
    }
}

impl<Req, Res, E> fmt::Debug for ScriptedFuture<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("ScriptedFuture");
        match &self.state {
            State::Waiting(step, _) => tuple.field(step),
            State::Running(_) => tuple.field(&"running"),
            State::Never => tuple.field(&"never"),
            State::Done => tuple.field(&"done"),
        }
        .finish()
    }
}
