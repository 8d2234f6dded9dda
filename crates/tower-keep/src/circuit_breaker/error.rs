use std::{fmt, sync::Arc, time::Duration};

/// The circuit is open and rejected the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    circuit: Arc<str>,
    remaining: Option<Duration>,
}

impl Open {
    /// The circuit of this name is open for this long; `None` until it is reset by hand.
    #[must_use]
    pub fn new(circuit: impl Into<Arc<str>>, remaining: Option<Duration>) -> Self {
        Self {
            circuit: circuit.into(),
            remaining,
        }
    }

    /// The circuit's name.
    #[must_use]
    pub fn circuit(&self) -> &str {
        &self.circuit
    }

    /// How long it is until a call may be let through; `None` if the circuit was opened by hand.
    ///
    /// While half-open this is the time until a hanging probe would lose its place.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {:?} is open", self.circuit)?;
        match self.remaining {
            Some(remaining) => {
                // Whole milliseconds, rounded up, are as much as anybody wants to read.
                let millis = remaining.as_nanos().div_ceil(1_000_000);
                let remaining = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
                write!(f, " for another {remaining:?}")
            }
            None => f.write_str(" until it is reset"),
        }
    }
}

impl std::error::Error for Open {}
