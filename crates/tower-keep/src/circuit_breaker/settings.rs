//! The settings of a circuit, and the window of its rates. Pure.

use std::{fmt, num::NonZeroU32, time::Duration};

use crate::ratio::{InvalidWindow, Ratio};

/// The settings of a circuit: when it opens and how it recovers.
///
/// Each field corresponds to the layer's setter of the same name.
/// [`CircuitBreakerHandle::update`](super::CircuitBreakerHandle::update) changes them at run time
/// without losing counts.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// More than this number of failures in a row opens the circuit. `None` means 5, or no such
    /// condition if a rate is set.
    pub failure_threshold: Option<u32>,
    /// The share of failed calls in the window at which the circuit opens. Default: none.
    pub failure_rate: Option<Ratio>,
    /// The share of slow calls in the window at which the circuit opens. Default: none.
    pub slow_call_rate: Option<Ratio>,
    /// A call that takes this long, or longer, is slow. Default: 10 s. No effect without a
    /// slow-call rate.
    pub slow_call_duration: Duration,
    /// Whether calls in flight count as soon as they are slow. Default: no.
    pub count_in_flight: bool,
    /// The calls from which the rates are computed. Default: the last 100 calls.
    pub window: Window,
    /// With fewer calls in the window, the rates are not checked. Default: 20. A full count window
    /// is always checked.
    pub minimum_calls: NonZeroU32,
    /// How long an open circuit rejects all calls. Default: 30 s.
    pub cooldown: Duration,
    /// Whether the cooldown doubles with each opening. Default: no.
    pub growing: bool,
    /// The maximum of a cooldown that has grown, or that the service requested, unless `cooldown`
    /// is longer. Default: 5 minutes.
    pub max_cooldown: Duration,
    /// The maximum share by which each cooldown is shortened at random. Default: none.
    pub cooldown_jitter: Option<Ratio>,
    /// The number of probes that a half-open circuit admits at a time. Default: 1.
    pub half_open_probes: NonZeroU32,
    /// The number of successful probes that closes the circuit. Default: 1.
    pub half_open_successes: NonZeroU32,
    /// The number of failed probes that opens the circuit again. Default: 1.
    pub half_open_failures: NonZeroU32,
    /// How long a probe keeps its slot. Default: the cooldown, at least 1 s.
    pub probe_timeout: Option<Duration>,
    /// The time after closing until all calls are admitted again. Default: none.
    pub ramp: Option<Duration>,
    /// The minimum of the default probe timeout.
    pub(crate) least_probe_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failure_threshold: None,
            failure_rate: None,
            slow_call_rate: None,
            slow_call_duration: Duration::from_secs(10),
            count_in_flight: false,
            window: Window::calls(number(100)),
            minimum_calls: number(20),
            cooldown: Duration::from_secs(30),
            growing: false,
            max_cooldown: Duration::from_secs(300),
            cooldown_jitter: None,
            half_open_probes: NonZeroU32::MIN,
            half_open_successes: NonZeroU32::MIN,
            half_open_failures: NonZeroU32::MIN,
            probe_timeout: None,
            ramp: None,
            least_probe_timeout: Duration::from_secs(1),
        }
    }
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

impl Settings {
    /// The settings with computed defaults filled in.
    ///
    /// These are the failure threshold, the probe timeout, the maximum cooldown, and the minimum
    /// number of calls, limited by the window.
    ///
    /// ```
    /// use tower_keep::{CircuitBreakerLayer, Ratio};
    ///
    /// let settings = CircuitBreakerLayer::new().handle().settings();
    /// assert_eq!(settings.failure_threshold, None);
    /// assert_eq!(settings.effective().failure_threshold, Some(5));
    ///
    /// let by_rate = CircuitBreakerLayer::new().failure_rate(Ratio::HALF);
    /// assert_eq!(by_rate.handle().settings().effective().failure_threshold, None);
    /// ```
    #[must_use]
    pub fn effective(mut self) -> Self {
        self.failure_threshold = self.consecutive();
        self.probe_timeout = Some(self.lease());
        self.max_cooldown = self.max_cooldown.max(self.cooldown);
        if let WindowSize::Calls(size) = self.window.0 {
            self.minimum_calls = self.minimum_calls.min(size);
        }
        self
    }

    /// Replaces `old`. Keeps the minimum probe timeout that a pipeline set.
    pub(super) fn replace(mut self, old: &mut Self) {
        self.least_probe_timeout = self.least_probe_timeout.max(old.least_probe_timeout);
        *old = self;
    }

    /// The effective failure threshold; `None` if failures in a row do not open the circuit.
    pub(super) fn consecutive(&self) -> Option<u32> {
        let default = (!self.is_windowed()).then_some(5);
        self.failure_threshold.or(default)
    }

    /// Whether a rate is set.
    pub(super) fn is_windowed(&self) -> bool {
        self.failure_rate.is_some() || self.slow_call_rate.is_some()
    }

    /// Whether the window counts calls, independent of time.
    pub(super) fn counts_calls(&self) -> bool {
        matches!(self.window.0, WindowSize::Calls(_))
    }

    /// The effective minimum number of calls.
    pub(super) fn least_calls(&self) -> u64 {
        let least = match self.window.0 {
            WindowSize::Calls(size) => self.minimum_calls.min(size),
            WindowSize::Time(_) => self.minimum_calls,
        };
        u64::from(least.get())
    }

    /// The duration of a call, if it was slow.
    #[inline(always)]
    pub(super) fn slow_call(&self, took: impl FnOnce() -> Duration) -> Option<Duration> {
        self.slow_call_rate?;
        Some(took()).filter(|took| *took >= self.slow_call_duration)
    }

    /// The effective probe timeout.
    pub(super) fn lease(&self) -> Duration {
        let default = self.cooldown.max(self.least_probe_timeout);
        self.probe_timeout.unwrap_or(default)
    }

    /// The cooldown after this number of openings in a row, without jitter. `requested` is the time
    /// that the service requested.
    pub(super) fn cooldown_after(&self, trips: u32, requested: Option<Duration>) -> Duration {
        let max = self.max_cooldown.max(self.cooldown);
        match requested {
            // A requested time of zero is ignored: the service still fails.
            Some(requested) if !requested.is_zero() => requested.min(max),
            _ if self.growing => {
                let factor = 1_u32.checked_shl(trips).unwrap_or(u32::MAX);
                self.cooldown.saturating_mul(factor).min(max)
            }
            _ => self.cooldown,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `least_probe_timeout` shows in the effective probe timeout.
        f.debug_struct("Settings")
            .field("failure_threshold", &self.failure_threshold)
            .field("failure_rate", &self.failure_rate)
            .field("slow_call_rate", &self.slow_call_rate)
            .field("slow_call_duration", &self.slow_call_duration)
            .field("count_in_flight", &self.count_in_flight)
            .field("window", &self.window)
            .field("minimum_calls", &self.minimum_calls)
            .field("cooldown", &self.cooldown)
            .field("growing", &self.growing)
            .field("max_cooldown", &self.max_cooldown)
            .field("cooldown_jitter", &self.cooldown_jitter)
            .field("half_open_probes", &self.half_open_probes)
            .field("half_open_successes", &self.half_open_successes)
            .field("half_open_failures", &self.half_open_failures)
            .field("probe_timeout", &self.probe_timeout)
            .field("ramp", &self.ramp)
            .finish()
    }
}

/// The calls from which a circuit computes its rates: the last calls by number, or by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub(crate) WindowSize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowSize {
    Calls(NonZeroU32),
    /// Never zero.
    Time(Duration),
}

impl Window {
    /// The last `calls` calls, exactly. It takes two bits of memory per call.
    #[must_use]
    pub const fn calls(calls: NonZeroU32) -> Self {
        Self(WindowSize::Calls(calls))
    }

    /// The calls of the last `length`, in constant memory.
    ///
    /// The window moves in steps of a twentieth of `length`. A call leaves at the latest after
    /// `length`, and at the earliest one step before.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] if `length` is zero.
    pub const fn time(length: Duration) -> Result<Self, InvalidWindow> {
        if length.is_zero() {
            Err(InvalidWindow::new(length, Duration::from_nanos(1)))
        } else {
            Ok(Self(WindowSize::Time(length)))
        }
    }
}
