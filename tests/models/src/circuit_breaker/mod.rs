//! The circuit, and those who wait for it.

pub mod by_hand;
pub mod closed;
pub mod half_open;
pub mod waiting;

// The library's own files, of which the models use a part. They are linted at home.

#[path = "../../../../crates/tower-keep/src/circuit_breaker/mode.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod mode;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/opening_reason.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod opening_reason;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/packed_state.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod packed_state;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/settings.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod settings;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/slow_in_flight.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod slow_in_flight;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/snapshot.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod snapshot;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/state/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod state;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/transition.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod transition;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/waiters.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod waiters;
#[path = "../../../../crates/tower-keep/src/circuit_breaker/window/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod window;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use self::{
    packed_state::State,
    settings::Settings,
    state::{Admission, AdmitResult, Circuit, OutcomeEffect, Streak},
};
use crate::classify::Outcome;

const START: Duration = Duration::ZERO;
const COOLDOWN: Duration = Duration::from_secs(10);
const CAUSE: &str = "no";

/// The state after a transition, and the cooldown of an open one.
type Told = (State, Option<Duration>);

const CLOSED: Option<Told> = Some((State::Closed, None));

fn circuit(change: impl FnOnce(&mut Settings)) -> Arc<Circuit> {
    let mut settings = Settings {
        cooldown: COOLDOWN,
        ..Settings::default()
    };
    change(&mut settings);
    Arc::new(Circuit::new(settings, 0))
}

/// A circuit that let a call through that failed, and opened; the settings are changed thereafter.
fn open_circuit(change: impl FnOnce(&mut Settings)) -> Arc<Circuit> {
    let circuit = circuit(|settings| settings.failure_threshold = Some(0));
    let call = circuit.admitted(START);
    assert!(circuit.failed(&call, START).is_some());
    circuit.change_settings(change, START);
    circuit
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// What models do with a circuit, in short.
impl Circuit {
    fn asked(&self, now: Duration) -> AdmitResult {
        self.admit(false, || now)
    }

    fn admitted(&self, now: Duration) -> Admission {
        self.asked(now).admission.unwrap()
    }

    fn succeeded(&self, call: &Admission, now: Duration) -> Option<Told> {
        self.settled(call, Outcome::Success, now)
    }

    fn failed(&self, call: &Admission, now: Duration) -> Option<Told> {
        self.settled(call, Outcome::Failure, now)
    }

    fn dropped(&self, call: &Admission, now: Duration) -> Option<Told> {
        self.settled(call, Outcome::Ignored, now)
    }

    /// Records the outcome, and opens the circuit where that is the verdict. Others may come
    /// between.
    fn settled(&self, call: &Admission, outcome: Outcome, now: Duration) -> Option<Told> {
        let transition = match self.record(call, outcome, None, Streak::Ends, || now)? {
            OutcomeEffect::Closed(transition) => transition,
            OutcomeEffect::Trips(trip) => self.open_for(trip, CAUSE.into(), now)?,
        };
        Some((transition.to, transition.cooldown))
    }
}
