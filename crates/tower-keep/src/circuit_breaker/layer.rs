use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use super::{error::Open, handle::CircuitBreakerHandle, shared::Shared, state::Settings};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    reject::{Fail, FailWith, RespondWith},
};

/// Stops calling a service that fails.
///
/// Its clones, and all services that it makes, share one circuit and its settings; two circuits take two layers.
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ErrorsAsFailures, O = Fail> {
    pub(crate) shared: Arc<Shared>,
    pub(super) classify: C,
    pub(super) ignore_timeouts: bool,
    pub(super) on_reject: O,
}

impl CircuitBreakerLayer {
    /// Opens after more than 5 failures in a row, for 30 s, and then lets one probe through at a time.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            failure_threshold: 5,
            cooldown: Duration::from_secs(30),
            probes: 1,
            probe_timeout: None,
            least_probe_timeout: Duration::from_secs(1),
        };
        Self {
            shared: Arc::new(Shared::new(settings)),
            classify: ErrorsAsFailures,
            ignore_timeouts: false,
            on_reject: Fail,
        }
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, O> CircuitBreakerLayer<C, O> {
    /// Reads and forces the state.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The circuit's name, for errors and events. Default: `"default"`.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        self.shared.rename(name.into());
        self
    }

    /// How many failures in a row are put up with: one more opens. A success starts the count anew. Default: 5.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        self.shared
            .circuit
            .change_settings(|settings| settings.failure_threshold = failures);
        self
    }

    /// How long an open circuit rejects every call. Default: 30 s.
    #[must_use]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        self.shared
            .circuit
            .change_settings(|settings| settings.cooldown = cooldown);
        self
    }

    /// How many calls a half-open circuit lets through at a time. Default: 1.
    #[must_use]
    pub fn half_open_probes(self, probes: NonZeroU32) -> Self {
        self.shared
            .circuit
            .change_settings(|settings| settings.probes = probes.get());
        self
    }

    /// How long a probe keeps its place: after that another may go, whether or not the first one comes back. Default:
    /// as long as the cooldown. If it is shorter than a call may take, more probes than wanted are under way at once.
    #[must_use]
    pub fn probe_timeout(self, timeout: Duration) -> Self {
        self.shared
            .circuit
            .change_settings(|settings| settings.probe_timeout = Some(timeout));
        self
    }

    /// Does not count an overall time limit as a failure.
    #[must_use]
    pub fn ignore_timeouts(mut self) -> Self {
        self.ignore_timeouts = true;
        self
    }

    /// What counts as a failure, and what not at all. Default: errors are failures.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> CircuitBreakerLayer<D, O>
    where
        D: Classify<Response, Error>,
    {
        CircuitBreakerLayer {
            shared: self.shared,
            classify,
            ignore_timeouts: self.ignore_timeouts,
            on_reject: self.on_reject,
        }
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> CircuitBreakerLayer<C, FailWith<F>>
    where
        F: Fn(Open) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> CircuitBreakerLayer<C, RespondWith<F>>
    where
        F: Fn(Open) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    fn on_reject<P>(self, on_reject: P) -> CircuitBreakerLayer<C, P> {
        CircuitBreakerLayer {
            shared: self.shared,
            classify: self.classify,
            ignore_timeouts: self.ignore_timeouts,
            on_reject,
        }
    }
}

impl<C, O> fmt::Debug for CircuitBreakerLayer<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("name", &self.shared.name())
            .field("settings", &self.shared.circuit.settings())
            .field("state", &self.shared.circuit.state())
            .finish_non_exhaustive()
    }
}
