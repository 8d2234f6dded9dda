//! Settings of a circuit breaker: how long its circuit stays open, and how it closes again.

use std::{num::NonZeroU32, time::Duration};

use super::{super::circuit_kind::Circuits, CircuitBreakerLayer};
use crate::{ratio::Ratio, unshare::Unshare};

/// Recovery: cooldown, probes and ramp.
impl<C, B: Circuits, O> CircuitBreakerLayer<C, B, O> {
    /// How long an open circuit rejects all calls. Default: 30 s.
    #[must_use]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.cooldown = cooldown)
    }

    /// Doubles the cooldown with each opening, up to [`max_cooldown`](Self::max_cooldown). Default:
    /// off.
    ///
    /// The cooldown returns to its initial length once the circuit has stayed closed for as long as
    /// its last cooldown.
    #[must_use]
    pub fn growing_cooldown(self) -> Self {
        self.set(|settings| settings.growing = true)
    }

    /// The maximum of a cooldown that has grown, or that the service
    /// [requested](Self::retry_after). Default: 5 minutes, like Envoy's longest ejection.
    ///
    /// If [`cooldown`](Self::cooldown) is longer, the cooldown is the maximum.
    #[must_use]
    pub fn max_cooldown(self, max_cooldown: Duration) -> Self {
        self.set(|settings| settings.max_cooldown = max_cooldown)
    }

    /// Shortens each cooldown at random by up to this share, so that clients of a service do not
    /// all return at once. Default: no jitter.
    #[must_use]
    pub fn cooldown_jitter(self, share: Ratio) -> Self {
        self.set(|settings| settings.cooldown_jitter = Some(share))
    }

    /// Makes jitter repeatable, for tests. Default: a random seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let layer = self.unshared();
        layer.circuits.seed(seed);
        layer
    }

    /// The number of probe slots: how many probes a half-open circuit admits at a time. Default: 1.
    #[must_use]
    pub fn half_open_probes(self, probes: NonZeroU32) -> Self {
        self.set(|settings| settings.half_open_probes = probes)
    }

    /// The number of successful probes that closes the circuit. Default: 1.
    #[must_use]
    pub fn half_open_successes(self, successes: NonZeroU32) -> Self {
        self.set(|settings| settings.half_open_successes = successes)
    }

    /// The number of failed probes that opens the circuit again. Default: 1.
    #[must_use]
    pub fn half_open_failures(self, failures: NonZeroU32) -> Self {
        self.set(|settings| settings.half_open_failures = failures)
    }

    /// How long a probe keeps its slot. Default: the cooldown, at least 1 s.
    ///
    /// After this time the slot is free for another probe, even if the first still runs. With a
    /// timeout shorter than a call, more probes can run than there are slots. If all slots are lost
    /// three times without a result, the circuit opens again.
    #[must_use]
    pub fn probe_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.probe_timeout = Some(timeout))
    }

    /// Increases the load gradually after probes have closed the circuit. Default: off.
    ///
    /// The share of admitted calls grows from 10 % to 100 % within this time; other calls are
    /// rejected. It has no effect with [`backpressure`](CircuitBreakerLayer::backpressure).
    #[must_use]
    pub fn ramp(self, ramp: Duration) -> Self {
        self.set(|settings| settings.ramp = Some(ramp))
    }
}
