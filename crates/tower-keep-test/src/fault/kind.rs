//! [`Fault`]: the faults that can be injected.

use std::fmt;

/// A fault that a [`FaultLayer`](crate::FaultLayer) can inject into a call, or into a wait for
/// readiness.
///
/// | fault | where | effect | the request reaches the service |
/// |---|---|---|---|
/// | `ReadinessError` | `poll_ready` | fails with an [`InjectedFault`](crate::InjectedFault) | no |
/// | `NeverReady` | `poll_ready` | this instance is pending forever; a clone has its own wait | no |
/// | `SlowReadiness` | `poll_ready` | polls the service after a delay | yes |
/// | `PanicInCall` | `call` | panics with an `InjectedFault` | no |
/// | `Error` | the future | fails with an `InjectedFault` | no |
/// | `Hang` | the future | is pending forever | no |
/// | `PanicInPoll` | the future | the first poll panics with an `InjectedFault` | no |
/// | `SlowResponse` | the future | polls the service's future after a delay | yes |
/// | `LateWake` | the future | the first poll is pending and wakes only after a delay; any later poll reaches the service | yes |
/// | `SpuriousWakes` | the future | three polls wake at once but stay pending; the next one reaches the service | yes |
/// | `StaleWake` | the future | like `SlowResponse`, but wakes only the waker of the first poll, which violates the contract | yes |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// `poll_ready` fails.
    ReadinessError,
    /// `poll_ready` is pending forever.
    NeverReady,
    /// `poll_ready` is slow.
    SlowReadiness,
    /// `call` panics.
    PanicInCall,
    /// The future fails.
    Error,
    /// The future is pending forever.
    Hang,
    /// The future panics when it is polled.
    PanicInPoll,
    /// The future is slow.
    SlowResponse,
    /// The future wakes late.
    LateWake,
    /// The future wakes its task without progress.
    SpuriousWakes,
    /// The future wakes only the task that polled it first.
    StaleWake,
}

impl Fault {
    /// Every fault that keeps to tower's contract: all but [`StaleWake`](Self::StaleWake).
    pub const ALL: [Self; 10] = [
        Self::ReadinessError,
        Self::NeverReady,
        Self::SlowReadiness,
        Self::PanicInCall,
        Self::Error,
        Self::Hang,
        Self::PanicInPoll,
        Self::SlowResponse,
        Self::LateWake,
        Self::SpuriousWakes,
    ];

    /// Whether the fault happens in `poll_ready`, before a call.
    #[must_use]
    pub fn is_of_readiness(self) -> bool {
        matches!(
            self,
            Self::ReadinessError | Self::NeverReady | Self::SlowReadiness
        )
    }

    fn text(self) -> &'static str {
        match self {
            Self::ReadinessError => "readiness error",
            Self::NeverReady => "never ready",
            Self::SlowReadiness => "slow readiness",
            Self::PanicInCall => "panic in call",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::PanicInPoll => "panic in poll",
            Self::SlowResponse => "slow response",
            Self::LateWake => "late wake",
            Self::SpuriousWakes => "spurious wakes",
            Self::StaleWake => "stale wake",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
