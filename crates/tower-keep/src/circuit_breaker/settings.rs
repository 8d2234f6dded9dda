//! The settings of a circuit, and the window of its rates. Pure.

use std::{fmt, num::NonZeroU32, time::Duration};

use crate::ratio::{InvalidWindow, Ratio};

/// Says when a circuit opens and how it recovers. The settings can change while it works, without losing what it counted:
/// [`CircuitBreakerHandle::update`](super::CircuitBreakerHandle::update).
///
/// Each field says what the layer's setter of the same name says.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many failures in a row are put up with: one more opens. `None` is 5 where no rate is set, and no such
    /// condition where one is.
    pub failure_threshold: Option<u32>,
    /// The share of failed calls in the window at which the circuit opens. Default: none.
    pub failure_rate: Option<Ratio>,
    /// The share of slow calls in the window at which the circuit opens. Default: none.
    pub slow_call_rate: Option<Ratio>,
    /// A call that takes this long, or longer, is slow. Default: 10 s. Without a slow-call rate it has no effect.
    pub slow_call_duration: Duration,
    /// Whether calls in flight count as slow as soon as they are. Default: no.
    pub count_in_flight: bool,
    /// What the rates are rates of. Default: the last 100 calls.
    pub window: Window,
    /// The rates mean nothing with fewer calls in the window. Default: 20. A full count window is always judged.
    pub minimum_calls: NonZeroU32,
    /// How long an open circuit rejects every call. Default: 30 s.
    pub cooldown: Duration,
    /// Whether each trip that follows soon doubles the cooldown. Default: no.
    pub growing: bool,
    /// No grown cooldown, and none that the service asked for, is longer than this, unless `cooldown` is.
    /// Default: 5 minutes, as Envoy's.
    pub max_cooldown: Duration,
    /// By up to which share each cooldown is shortened at random. Default: none.
    pub cooldown_jitter: Option<Ratio>,
    /// How many calls a half-open circuit lets through at a time. Default: 1.
    pub half_open_probes: NonZeroU32,
    /// How many probes have to succeed for the circuit to close. Default: 1.
    pub half_open_successes: NonZeroU32,
    /// How many probes have to fail for the circuit to open again. Default: 1.
    pub half_open_failures: NonZeroU32,
    /// How long a probe keeps its place. Default: as long as the cooldown, at least a second.
    pub probe_timeout: Option<Duration>,
    /// How long it takes after closing until every call goes through again. Default: none.
    pub ramp: Option<Duration>,
    /// How long a probe keeps its place at least, where the user set nothing.
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
    /// The settings with what their defaults depend on filled in: the threshold of failures in a
    /// row, the probe timeout, and the limits of the minimum of calls and of the greatest cooldown.
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

    /// Puts these in place of others. What a pipeline asked for stays.
    pub(super) fn replace(mut self, old: &mut Self) {
        self.least_probe_timeout = self.least_probe_timeout.max(old.least_probe_timeout);
        *old = self;
    }

    /// More failures in a row than this open; `None` if they do not matter.
    pub(super) fn consecutive(&self) -> Option<u32> {
        let default = (!self.is_windowed()).then_some(5);
        self.failure_threshold.or(default)
    }

    /// Whether there is a rate to be judged.
    pub(super) fn is_windowed(&self) -> bool {
        self.failure_rate.is_some() || self.slow_call_rate.is_some()
    }

    /// Whether the window is of calls, so that time does not matter to it.
    pub(super) fn counts_calls(&self) -> bool {
        matches!(self.window.0, WindowSize::Calls(_))
    }

    /// With how many calls in the window the rates mean something.
    pub(super) fn least_calls(&self) -> u64 {
        let least = match self.window.0 {
            WindowSize::Calls(size) => self.minimum_calls.min(size),
            WindowSize::Time(_) => self.minimum_calls,
        };
        u64::from(least.get())
    }

    /// How long a call took, if it was slow.
    #[inline(always)]
    pub(super) fn slow_call(&self, took: impl FnOnce() -> Duration) -> Option<Duration> {
        self.slow_call_rate?;
        Some(took()).filter(|took| *took >= self.slow_call_duration)
    }

    /// How long a probe keeps its place.
    pub(super) fn lease(&self) -> Duration {
        let default = self.cooldown.max(self.least_probe_timeout);
        self.probe_timeout.unwrap_or(default)
    }

    /// The cooldown after this number of trips that followed each other, before any jitter; `asked` is what the service asked
    /// for.
    pub(super) fn cooldown_after(&self, trips: u32, asked: Option<Duration>) -> Duration {
        let max = self.max_cooldown.max(self.cooldown);
        match asked {
            // To be asked for no rest at all is no reason to give none to a service that fails.
            Some(asked) if !asked.is_zero() => asked.min(max),
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
        // What a pipeline asks for is in the effective probe timeout.
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

/// Says which calls the rates of a circuit are computed from: the last so many, or those of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub(crate) WindowSize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowSize {
    Calls(NonZeroU32),
    /// Never zero.
    Time(Duration),
}

impl Window {
    /// The last calls, as many as given here, exactly. It takes two bits of memory a call.
    #[must_use]
    pub const fn calls(calls: NonZeroU32) -> Self {
        Self(WindowSize::Calls(calls))
    }

    /// The calls of the last `length`, kept in 20 parts whatever the load: none that ended longer ago counts, while one
    /// may be forgotten up to a twentieth of the length before its time.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] if the length is zero.
    pub const fn time(length: Duration) -> Result<Self, InvalidWindow> {
        if length.is_zero() {
            Err(InvalidWindow::new(length, Duration::from_nanos(1)))
        } else {
            Ok(Self(WindowSize::Time(length)))
        }
    }
}
