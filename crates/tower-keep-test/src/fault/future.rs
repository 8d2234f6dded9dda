//! The response future that injects faults.

use std::{
    fmt,
    panic::panic_any,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Sleep, sleep},
};

use super::{
    injected::InjectedFault,
    kind::Fault,
    record::{End, Ticket},
};

pin_project! {
    /// The response of a [`Faulty`](crate::Faulty) service.
    ///
    /// # Panics
    ///
    /// Polling panics with an [`InjectedFault`] if that is the fault, and after completion. A fault
    /// with a delay panics outside a tokio runtime with a timer.
    #[must_use = "futures do nothing unless polled"]
    pub struct FaultyFuture<F> {
        #[pin]
        inner: Option<F>,
        stage: Stage,
        // After the inner future, so that a call ends once all of it is dropped.
        ticket: Ticket,
    }
}

/// What happens before the service's own response, or instead of it.
pub(super) enum Stage {
    Instead(Fault),
    Slow(Duration),
    Late(Duration),
    Stale(Duration),
    Sleeping(Pin<Box<Sleep>>),
    /// Any poll continues, whether or not the delay is over. The sleep is kept for its wake.
    Waking {
        _sleep: Pin<Box<Sleep>>,
    },
    /// The sleep has the first waker.
    Forgetful(Pin<Box<Sleep>>),
    Spurious(u32),
    Inner,
    Done,
}

impl<F> FaultyFuture<F> {
    pub(super) fn new(inner: Option<F>, stage: Stage, ticket: Ticket) -> Self {
        Self {
            inner,
            stage,
            ticket,
        }
    }
}

impl Stage {
    /// Ready when the inner future may be polled, or with an injected error.
    fn poll(&mut self, cx: &mut Context<'_>, ticket: &Ticket) -> Poll<Result<(), InjectedFault>> {
        loop {
            match self {
                Self::Instead(Fault::Hang) => return Poll::Pending,
                Self::Instead(Fault::Error) => {
                    *self = Self::Done;
                    return Poll::Ready(Err(ticket.fault(Fault::Error)));
                }
                Self::Instead(fault) => {
                    let fault = ticket.fault(*fault);
                    *self = Self::Done;
                    panic_any(fault);
                }
                Self::Slow(delay) => *self = Self::Sleeping(Box::pin(sleep(*delay))),
                Self::Late(delay) => {
                    let (sleep, waits) = begin(*delay, cx);
                    *self = Self::Waking { _sleep: sleep };
                    if waits {
                        return Poll::Pending;
                    }
                }
                Self::Stale(delay) => {
                    let (sleep, waits) = begin(*delay, cx);
                    *self = Self::Forgetful(sleep);
                    if waits {
                        return Poll::Pending;
                    }
                }
                Self::Sleeping(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    *self = Self::Inner;
                }
                Self::Waking { .. } => *self = Self::Inner,
                Self::Forgetful(sleep) => {
                    if !sleep.is_elapsed() {
                        return Poll::Pending;
                    }
                    *self = Self::Inner;
                }
                Self::Spurious(0) => *self = Self::Inner,
                Self::Spurious(left) => {
                    *left -= 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Self::Inner => return Poll::Ready(Ok(())),
                Self::Done => panic!("a response was polled after it completed"),
            }
        }
    }
}

/// A sleep with this waker, and whether it is pending.
fn begin(delay: Duration, cx: &mut Context<'_>) -> (Pin<Box<Sleep>>, bool) {
    let mut sleep = Box::pin(sleep(delay));
    // In a task without coop budget, the sleep would otherwise start at a later poll.
    let waits = Pin::new(&mut unconstrained(sleep.as_mut()))
        .poll(cx)
        .is_pending();
    (sleep, waits)
}

impl<F, Res, E> Future for FaultyFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    E: From<InjectedFault>,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (stage, ticket) = (this.stage, &*this.ticket);
        let result = ready!(ticket.watch(|| {
            if let Err(fault) = ready!(stage.poll(cx, ticket)) {
                return Poll::Ready(Err(fault.into()));
            }
            match this.inner.as_mut().as_pin_mut() {
                Some(inner) => inner.poll(cx),
                // Only a fault that replaces the response has no inner future.
                None => Poll::Pending,
            }
        }));
        *stage = Stage::Done;
        this.inner.set(None);
        ticket.end(End::Completed);
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for FaultyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFuture")
            .field("call", &self.ticket.number)
            .finish_non_exhaustive()
    }
}
