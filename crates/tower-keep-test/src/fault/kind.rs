//! What can go wrong.

use std::fmt;

/// What a [`FaultLayer`](crate::FaultLayer) can do to one call, or to one wait for readiness.
///
/// | fault | where | what happens | the request reaches the service |
/// |---|---|---|---|
/// | `ReadinessError` | `poll_ready` | fails with an [`InjectedFault`](crate::InjectedFault) | no |
/// | `NeverReady` | `poll_ready` | this instance is pending for ever; a clone waits for itself | no |
/// | `SlowReadiness` | `poll_ready` | the service is asked after a delay | yes |
/// | `PanicInCall` | `call` | panics with an `InjectedFault` | no |
/// | `Error` | the future | fails with an `InjectedFault` | no |
/// | `Hang` | the future | is pending for ever | no |
/// | `PanicInPoll` | the future | the first poll panics with an `InjectedFault` | no |
/// | `SlowResponse` | the future | the service's future is polled after a delay | yes |
/// | `LateWake` | the future | the first poll is pending and wakes only after a delay; any later poll asks the service | yes |
/// | `SpuriousWakes` | the future | three polls wake at once and are pending all the same; the next asks the service | yes |
/// | `StaleWake` | the future | as `SlowResponse`, but only the waker of the first poll is woken, which a service must not do | yes |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// `poll_ready` fails.
    ReadinessError,
    /// `poll_ready` is pending for ever.
    NeverReady,
    /// `poll_ready` takes its time.
    SlowReadiness,
    /// `call` panics.
    PanicInCall,
    /// The future fails.
    Error,
    /// The future is pending for ever.
    Hang,
    /// The future panics when it is polled.
    PanicInPoll,
    /// The future takes its time.
    SlowResponse,
    /// The future tells late that it can go on.
    LateWake,
    /// The future wakes its task for nothing.
    SpuriousWakes,
    /// The future wakes whichever task polled it first.
    StaleWake,
}

impl Fault {
    /// Every fault of a service that keeps to tower's contract: all but [`StaleWake`](Self::StaleWake).
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

    /// Whether it happens in `poll_ready`, before there is a call.
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
