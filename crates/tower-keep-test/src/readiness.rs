//! [`Readiness`]: one scripted cycle of `poll_ready`.

use std::{
    fmt,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{Gate, wait::Wait};

/// The behaviour of a [`Scripted`](crate::Scripted) service in one cycle of `poll_ready`.
///
/// A cycle belongs to one instance of the service. It begins at the first `poll_ready` after a
/// `call`, and ends with readiness or an error. Set the outcome, then the time:
/// `Readiness::ok().after(secs(5))`.
pub struct Readiness<E = &'static str> {
    wait: Wait,
    outcome: Outcome<E>,
}

enum Outcome<E> {
    Ok,
    Never,
    Error(Option<E>),
}

impl<E> Readiness<E> {
    fn new(outcome: Outcome<E>) -> Self {
        Self {
            wait: Wait::default(),
            outcome,
        }
    }

    /// Ready.
    #[must_use]
    pub fn ok() -> Self {
        Self::new(Outcome::Ok)
    }

    /// Never ready: this instance is pending forever. Delays and gates have no effect.
    #[must_use]
    pub fn never() -> Self {
        Self::new(Outcome::Never)
    }

    /// `poll_ready` fails with `error`.
    #[must_use]
    pub fn error(error: E) -> Self {
        Self::new(Outcome::Error(Some(error)))
    }

    /// Delays the outcome after the cycle's first poll. With a [gate](Self::when), the delay starts
    /// at the first poll that finds it open.
    ///
    /// `poll_ready` panics outside a tokio runtime with a timer, unless the delay is zero.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.wait.delay = delay;
        self
    }

    /// Holds the outcome back until the test opens this gate.
    #[must_use]
    pub fn when(mut self, gate: &Gate) -> Self {
        self.wait.gate = Some(gate.clone());
        self
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if matches!(self.outcome, Outcome::Never) {
            return Poll::Pending;
        }
        ready!(self.wait.poll(cx));
        match &mut self.outcome {
            Outcome::Error(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            Outcome::Ok | Outcome::Never => Poll::Ready(Ok(())),
        }
    }
}

impl<E> fmt::Debug for Readiness<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.outcome {
            Outcome::Ok => "ready",
            Outcome::Never => "never ready",
            Outcome::Error(_) => "readiness error",
        })?;
        fmt::Debug::fmt(&self.wait, f)
    }
}
