//! The wait before a scripted outcome: a gate, a delay, or both.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::Gate;

/// The wait before a scripted outcome: first a gate, then a delay.
#[derive(Default)]
pub(crate) struct Wait {
    pub(crate) gate: Option<Gate>,
    pub(crate) delay: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    /// The delay counts from the first poll that finds the gate open.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(gate) = &self.gate {
            ready!(gate.poll_opened(cx));
            self.gate = None;
        }
        if self.delay.is_zero() {
            return Poll::Ready(());
        }
        let delay = self.delay;
        self.sleep
            .get_or_insert_with(|| Box::pin(sleep(delay)))
            .as_mut()
            .poll(cx)
    }

    /// A copy of the wait from its beginning.
    pub(crate) fn fresh(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            delay: self.delay,
            sleep: None,
        }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gate) = &self.gate {
            let state = if gate.is_open() { "open" } else { "closed" };
            write!(f, " when a gate opens (now {state})")?;
        }
        if !self.delay.is_zero() {
            write!(f, " after {:?}", self.delay)?;
        }
        Ok(())
    }
}
