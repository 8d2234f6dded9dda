//! The error of a call that an open circuit rejected.

use std::{fmt, sync::Arc, time::Duration};

use super::opening_reason::{Facts, rounded};

/// Says that a call was rejected because its circuit is open.
///
/// It names the circuit, the time left, and the failure that opened the circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    facts: Arc<Facts>,
    remaining: Option<Duration>,
}

impl Open {
    /// Makes the error of the circuit of this name, which is open for this long; `None` is until it
    /// is reset by hand. It has no cause.
    #[must_use]
    pub fn new(circuit: impl Into<Arc<str>>, remaining: Option<Duration>) -> Self {
        let facts = Facts {
            circuit: circuit.into(),
            cause: None,
        };
        Self {
            facts: Arc::new(facts),
            remaining,
        }
    }

    pub(super) fn of(facts: Arc<Facts>, remaining: Option<Duration>) -> Self {
        Self { facts, remaining }
    }

    /// Adds the text of the failure that opened the circuit.
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

    /// How long it is until a call may be let through; `None` if the circuit was opened by hand
    /// until a reset.
    ///
    /// It is counted from when the service was asked whether it is ready. While half-open this is the
    /// time until a hanging probe would lose its place.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }

    /// The failure that opened the circuit; `None` if the circuit was opened by hand.
    ///
    /// It is what the classifier [says](crate::Classify::describe) of the failed call, or the text
    /// of its error, or a general sentence: for a slow call, a time limit, a panic, a dropped call,
    /// or a response that counts as a failure. A call that a half-open circuit rejects gets the
    /// cause of the last opening.
    ///
    /// The text may contain what the service said. Show it to operators rather than to strangers.
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
