//! Serialization of CircuitBreaker's states, snapshots, transitions and settings.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::value::{ms, optional_ms, optional_text, text};
use crate::{
    circuit_breaker::{CircuitSnapshot, Mode, Settings, State, Transition, Window, WindowSize},
    ratio::Ratio,
};

#[derive(Serialize, Deserialize)]
#[serde(remote = "State", rename_all = "snake_case")]
enum StateForm {
    Closed,
    Open,
    HalfOpen,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Mode", rename_all = "snake_case")]
enum ModeForm {
    Automatic,
    ForcedOpen,
    ForcedClosed,
    Disabled,
    ObserveOnly,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CircuitSnapshot")]
struct CircuitSnapshotForm {
    state: State,
    mode: Mode,
    failures_in_a_row: u32,
    calls: u64,
    failures: u64,
    slow_calls: u64,
    slow_in_flight: u64,
    probes: usize,
    probe_successes: u32,
    probe_failures: u32,
    rejected: u64,
    opened: u64,
    #[serde(default, rename = "time_until_probe_ms", with = "optional_ms")]
    time_until_probe: Option<Duration>,
    #[serde(default, with = "optional_text")]
    cause: Option<Arc<str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Transition")]
struct TransitionForm {
    #[serde(with = "text")]
    circuit: Arc<str>,
    sequence: u64,
    from: State,
    to: State,
    mode: Mode,
    manual: bool,
    failures_in_a_row: u32,
    calls: u64,
    failures: u64,
    slow_calls: u64,
    probe_successes: u32,
    probe_failures: u32,
    #[serde(default, with = "optional_text")]
    cause: Option<Arc<str>>,
    #[serde(default, rename = "cooldown_ms", with = "optional_ms")]
    cooldown: Option<Duration>,
}

is_its_form! {
    State => StateForm,
    Mode => ModeForm,
    CircuitSnapshot => CircuitSnapshotForm,
    Transition => TransitionForm,
}

#[derive(Serialize)]
#[serde(rename = "Settings")]
struct SettingsForm {
    failure_threshold: Option<u32>,
    failure_rate: Option<Ratio>,
    slow_call_rate: Option<Ratio>,
    #[serde(rename = "slow_call_duration_ms", with = "ms")]
    slow_call_duration: Duration,
    count_in_flight: bool,
    window: Window,
    minimum_calls: u32,
    #[serde(rename = "cooldown_ms", with = "ms")]
    cooldown: Duration,
    growing: bool,
    #[serde(rename = "max_cooldown_ms", with = "ms")]
    max_cooldown: Duration,
    cooldown_jitter: Option<Ratio>,
    half_open_probes: u32,
    half_open_successes: u32,
    half_open_failures: u32,
    #[serde(rename = "probe_timeout_ms", with = "optional_ms")]
    probe_timeout: Option<Duration>,
    #[serde(rename = "ramp_ms", with = "optional_ms")]
    ramp: Option<Duration>,
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self {
            failure_threshold,
            failure_rate,
            slow_call_rate,
            slow_call_duration,
            count_in_flight,
            window,
            minimum_calls,
            cooldown,
            growing,
            max_cooldown,
            cooldown_jitter,
            half_open_probes,
            half_open_successes,
            half_open_failures,
            probe_timeout,
            ramp,
            // The effective probe timeout includes the pipeline's minimum.
            least_probe_timeout: _,
        } = *self;
        SettingsForm {
            failure_threshold,
            failure_rate,
            slow_call_rate,
            slow_call_duration,
            count_in_flight,
            window,
            minimum_calls: minimum_calls.get(),
            cooldown,
            growing,
            max_cooldown,
            cooldown_jitter,
            half_open_probes: half_open_probes.get(),
            half_open_successes: half_open_successes.get(),
            half_open_failures: half_open_failures.get(),
            probe_timeout,
            ramp,
        }
        .serialize(to)
    }
}

#[derive(Serialize)]
#[serde(rename = "Window", tag = "type", rename_all = "snake_case")]
enum WindowForm {
    Calls {
        calls: u32,
    },
    Time {
        #[serde(rename = "length_ms", with = "ms")]
        length: Duration,
    },
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            WindowSize::Calls(calls) => WindowForm::Calls { calls: calls.get() },
            WindowSize::Time(length) => WindowForm::Time { length },
        }
        .serialize(to)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.as_f64())
    }
}
