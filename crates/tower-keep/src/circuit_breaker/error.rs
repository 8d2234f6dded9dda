//! The error of a call that an open circuit rejected.

use std::{fmt, sync::Arc, time::Duration};

use super::opening_reason::{RejectionFacts, rounded};

/// The error of a call that was rejected because its circuit is open.
///
/// It names the circuit, the time left, and the failure that opened the circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    facts: Arc<RejectionFacts>,
    remaining: Option<Duration>,
}

impl Open {
    /// The error of a circuit with this name that stays open for this long, without a cause. `None`
    /// means open until a manual reset.
    #[must_use]
    pub fn new(circuit: impl Into<Arc<str>>, remaining: Option<Duration>) -> Self {
        let facts = RejectionFacts {
            circuit: circuit.into(),
            cause: None,
        };
        Self {
            facts: Arc::new(facts),
            remaining,
        }
    }

    pub(super) fn of(facts: Arc<RejectionFacts>, remaining: Option<Duration>) -> Self {
        Self { facts, remaining }
    }

    /// Sets the text of the failure that opened the circuit.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.facts).cause = Some(cause.into());
        self
    }

    /// The circuit's name.
    #[must_use]
    pub fn circuit(&self) -> &str {
        &self.facts.circuit
    }

    /// The time until the circuit may admit a call. `None` if the circuit was opened manually until
    /// a reset.
    ///
    /// The time counts from `poll_ready`. While half-open it is the time until a hanging probe
    /// loses its slot.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }

    /// The failure that opened the circuit. `None` if the circuit was opened manually.
    ///
    /// Only the failure that opens the circuit is described, before the circuit opens. The text
    /// comes from the first of these that gives one:
    ///
    /// 1. the opening condition, for a slow call or a rate that the last call did not raise
    /// 2. the classifier's [description](crate::Classify::describe)
    /// 3. a general sentence, for a time limit, a panic, a dropped call or a failed response
    /// 4. the error
    ///
    /// A half-open circuit rejects calls with the cause of its last opening.
    ///
    /// The text may contain data from the service. Show it to operators, not to untrusted clients.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.facts.cause.as_deref()
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {:?} is open", self.circuit())?;
        match self.remaining {
            Some(remaining) => write!(f, " for another {:?}", rounded(remaining))?,
            None => f.write_str(" until it is reset")?,
        }
        match self.cause() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Open {}
