use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::settings::{Span, Window};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn circuit(settings: Settings) -> Circuit {
    Circuit::new(settings, 0)
}

fn consecutive(failures: u32) -> Settings {
    Settings {
        failure_threshold: Some(failures),
        cooldown: secs(1),
        ..Settings::default()
    }
}

impl Circuit {
    fn pass(&self, now: Duration) -> Admission {
        self.admit(false, || now).admission.unwrap()
    }

    fn rejects_call(&self, now: Duration) -> bool {
        self.admit(false, || now).admission.is_err()
    }

    fn end(&self, admission: Admission, outcome: Outcome, now: Duration) -> Option<Told> {
        self.settle(&admission, outcome, None, now)
    }

    /// Records the outcome, and opens the circuit where that is the verdict.
    fn settle(
        &self,
        admission: &Admission,
        outcome: Outcome,
        asked: Option<Duration>,
        now: Duration,
    ) -> Option<Told> {
        let transition = match self.record(admission, outcome, asked, || now)? {
            Verdict::Closed(transition) => transition,
            Verdict::Trips(trip) => {
                let cause = trip.reason.text().unwrap_or_else(|| "no".into());
                self.open_for(trip, cause, now)?
            }
        };
        Some(told(&transition))
    }
}

/// The new state, and the cooldown of an open one.
type Told = (State, Option<Duration>);

fn told(transition: &Transition) -> Told {
    (transition.to, transition.cooldown)
}

fn opened(cooldown: Duration) -> Option<Told> {
    Some((State::Open, Some(cooldown)))
}

const CLOSED: Option<Told> = Some((State::Closed, None));

/// The rules in the plainest form: one generation number, one list, no packing.
struct Model {
    settings: Settings,
    mode: Mode,
    state: State,
    generation: u64,
    in_a_row: u32,
    /// What came of each call in the closed state, whether it was slow, and when it ended.
    ended: Vec<(bool, bool, Duration)>,
    until: Option<Duration>,
    probes: Vec<(usize, Duration)>,
    good: u32,
    bad: u32,
    lost: u32,
    trips: u32,
    cooldown: Duration,
    closed_at: Duration,
    rejected: u64,
    /// No cause is known, as an order by hand came after it.
    forced: bool,
}

/// How a call went through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Passed {
    Counted(u64),
    Uncounted,
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            mode: Mode::Automatic,
            state: State::Closed,
            generation: 0,
            in_a_row: 0,
            ended: Vec::new(),
            until: None,
            probes: Vec::new(),
            good: 0,
            bad: 0,
            lost: 0,
            trips: 0,
            cooldown: Duration::ZERO,
            closed_at: Duration::ZERO,
            rejected: 0,
            forced: false,
        }
    }

    fn transit(&mut self, state: State, until: Option<Duration>, now: Duration) {
        self.generation += 1;
        self.state = state;
        self.until = until;
        (self.in_a_row, self.good, self.bad, self.lost) = (0, 0, 0, 0);
        self.probes.clear();
        if state == State::Closed {
            self.ended.clear();
            self.closed_at = now;
        }
    }

    fn open(&mut self, asked: Option<Duration>, now: Duration) {
        if self.state == State::Closed && now - self.closed_at >= self.cooldown {
            self.trips = 0;
        }
        let longest = self.settings.max_cooldown.max(self.settings.cooldown);
        self.cooldown = match asked {
            Some(asked) if asked > Duration::ZERO => asked.min(longest),
            _ if self.settings.growing => {
                let doubled =
                    (0..self.trips.min(20)).fold(self.settings.cooldown, |all, _| all * 2);
                doubled.min(longest)
            }
            _ => self.settings.cooldown,
        };
        self.trips += 1;
        self.forced = false;
        self.transit(State::Open, Some(now + self.cooldown), now);
    }

    fn force_open_for(&mut self, time: Duration, now: Duration) {
        self.mode = Mode::Automatic;
        self.trips = 0;
        self.forced = true;
        self.ended.clear();
        self.transit(State::Open, Some(now + time), now);
    }

    fn probe_now(&mut self, now: Duration) -> bool {
        if self.state != State::Open {
            return false;
        }
        if self.mode == Mode::ForcedOpen {
            self.mode = Mode::Automatic;
        }
        self.transit(State::HalfOpen, None, now);
        true
    }

    fn set(&mut self, mode: Mode, now: Duration) {
        self.mode = mode;
        self.trips = 0;
        self.forced = true;
        let state = match mode {
            Mode::ForcedOpen => State::Open,
            _ => State::Closed,
        };
        self.ended.clear();
        self.transit(state, None, now);
    }

    fn window(&self) -> &[(bool, bool, Duration)] {
        let Window(Span::Calls(size)) = self.settings.window else {
            unreachable!("the model knows count windows only")
        };
        let from = self.ended.len().saturating_sub(size.get() as usize);
        &self.ended[from..]
    }

    fn judge(&mut self, asked: Option<Duration>, now: Duration) {
        let window = self.window();
        let share = |rate: Option<Ratio>, part: usize| {
            // The rates in these tests are whole percents.
            let percent = rate.map(|rate| (rate.as_f64() * 100.0).round() as usize);
            percent.is_some_and(|percent| part * 100 >= percent * window.len())
        };
        let enough = !window.is_empty() && window.len() as u64 >= self.settings.least_calls();
        let failed = window.iter().filter(|call| call.0).count();
        let slow = window.iter().filter(|call| call.1).count();
        let windowed = enough
            && (share(self.settings.failure_rate, failed)
                || share(self.settings.slow_call_rate, slow));
        let most = self.settings.failure_threshold.or_else(|| {
            let rates = self.settings.failure_rate.or(self.settings.slow_call_rate);
            rates.is_none().then_some(5)
        });
        let in_a_row = most.is_some_and(|most| self.in_a_row > most);
        if (windowed || in_a_row) && matches!(self.mode, Mode::Automatic | Mode::ObserveOnly) {
            self.open(asked, now);
        }
    }

    fn admit(&mut self, call: usize, now: Duration) -> Option<Passed> {
        if self.state == State::HalfOpen {
            let held = self.probes.len();
            self.probes.retain(|(_, expires)| *expires > now);
            self.lost += (held - self.probes.len()) as u32;
            if self.lost >= 3 * self.settings.half_open_probes.get() {
                self.open(None, now);
                self.rejected += 1;
                return (self.mode == Mode::ObserveOnly).then_some(Passed::Uncounted);
            }
        }
        if self.state == State::Open && self.until.is_some_and(|until| until <= now) {
            self.transit(State::HalfOpen, None, now);
        }
        let full = self.probes.len() >= self.settings.half_open_probes.get() as usize;
        if self.state == State::Open || self.state == State::HalfOpen && full {
            self.rejected += 1;
            return (self.mode == Mode::ObserveOnly).then_some(Passed::Uncounted);
        }
        if self.state == State::HalfOpen {
            let default = self.settings.cooldown.max(secs(1));
            let timeout = self.settings.probe_timeout.unwrap_or(default);
            self.probes.push((call, now + timeout));
        }
        Some(Passed::Counted(self.generation))
    }

    fn record(
        &mut self,
        call: usize,
        passed: Passed,
        (outcome, slow): (Outcome, bool),
        asked: Option<Duration>,
        now: Duration,
    ) {
        if passed != Passed::Counted(self.generation) || self.mode == Mode::Disabled {
            return;
        }
        self.probes.retain(|(probe, _)| *probe != call);
        let failed = match outcome {
            Outcome::Ignored => return,
            outcome => outcome == Outcome::Failure,
        };
        if self.state == State::Closed {
            self.ended.push((failed, slow, now));
            self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
            self.judge(asked, now);
            return;
        }
        self.lost = 0;
        if failed || slow {
            self.bad += 1;
        } else {
            self.good += 1;
        }
        if self.bad >= self.settings.half_open_failures.get() {
            self.open(asked, now);
        } else if self.good >= self.settings.half_open_successes.get() {
            self.transit(State::Closed, None, now);
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Call,
    End(usize, Outcome, Option<u64>),
    Wait(u64),
    Set(Mode),
    ForceOpenFor(u64),
    ProbeNow,
    Change(Settings),
}

fn settings() -> impl Strategy<Value = Settings> {
    let rate = || proptest::option::of((1..=100_u32).prop_map(|p| Ratio::percent(p).unwrap()));
    let trip = (
        proptest::option::of(0..6_u32),
        rate(),
        rate(),
        1..12_u32,
        1..8_u32,
    );
    let recovery = (
        0..10_u64,
        any::<bool>(),
        1..60_u64,
        1..4_u32,
        1..4_u32,
        1..4_u32,
        proptest::option::of(0..10_u64),
    );
    (trip, recovery).prop_map(|(trip, recovery)| Settings {
        failure_threshold: trip.0,
        failure_rate: trip.1,
        slow_call_rate: trip.2,
        slow_call_duration: secs(5),
        window: Window::calls(number(trip.3)),
        minimum_calls: number(trip.4),
        cooldown: secs(recovery.0),
        growing: recovery.1,
        max_cooldown: secs(recovery.2),
        half_open_probes: number(recovery.3),
        half_open_successes: number(recovery.4),
        half_open_failures: number(recovery.5),
        probe_timeout: recovery.6.map(secs),
        ..Settings::default()
    })
}

fn action() -> impl Strategy<Value = Action> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Failure),
        3 => Just(Outcome::Success),
        1 => Just(Outcome::Ignored)
    ];
    let asked = prop_oneof![5 => Just(None), 1 => (0..100_u64).prop_map(Some)];
    let mode = prop_oneof![
        4 => Just(Mode::Automatic),
        1 => Just(Mode::ForcedOpen),
        1 => Just(Mode::ForcedClosed),
        1 => Just(Mode::Disabled),
        2 => Just(Mode::ObserveOnly),
    ];
    prop_oneof![
        16 => Just(Action::Call),
        16 => (any::<usize>(), outcome, asked).prop_map(|(call, outcome, asked)| Action::End(call, outcome, asked)),
        8 => (0..12_u64).prop_map(Action::Wait),
        1 => mode.prop_map(Action::Set),
        1 => (0..20_u64).prop_map(Action::ForceOpenFor),
        1 => Just(Action::ProbeNow),
        1 => settings().prop_map(Action::Change),
    ]
}

proptest! {
    #[test]
    fn equals_the_model(
        first in settings(),
        actions in proptest::collection::vec(action(), 1..300),
    ) {
        let circuit = circuit(first);
        let mut model = Model::new(first);
        let mut now = Duration::ZERO;
        let mut under_way: Vec<(usize, Admission, Passed, bool, Duration)> = Vec::new();
        for (number, action) in actions.into_iter().enumerate() {
            match action {
                Action::Call => {
                    let rejects = circuit.rejects(|| now).is_some();
                    let answer = circuit.admit(false, || now);
                    let before = model.generation;
                    // Who is let through was not told otherwise before.
                    prop_assert!(!rejects || answer.admission.is_err());
                    let expected = model.admit(number, now);
                    prop_assert_eq!(answer.transition.is_some(), before != model.generation);
                    prop_assert_eq!(answer.admission.is_ok(), expected.is_some());
                    if let (Ok(admission), Some(passed)) = (answer.admission, expected) {
                        prop_assert_eq!(admission.is_uncounted(), passed == Passed::Uncounted);
                        let timed = model.settings.slow_call_rate.is_some() && model.mode != Mode::Disabled;
                        under_way.push((number, admission, passed, timed || model.state == State::HalfOpen, now));
                    } else {
                        // What rejects a call goes on to, unless it has opened just now, for no time at all.
                        let opened = answer.transition.is_some() && model.cooldown.is_zero();
                        prop_assert!(opened || circuit.rejects(|| now).is_some());
                    }
                }
                Action::End(call, outcome, asked) if !under_way.is_empty() => {
                    let (number, admission, passed, timed, began) = under_way.remove(call % under_way.len());
                    let asked = asked.map(secs);
                    let slow = model.settings.slow_call_rate.is_some() && timed && now - began >= secs(5);
                    let before = model.generation;
                    model.record(number, passed, (outcome, slow), asked, now);
                    let transition = circuit.settle(&admission, outcome, asked, now);
                    prop_assert_eq!(transition.is_some(), before != model.generation);
                    if let Some((State::Open, cooldown)) = transition {
                        prop_assert_eq!(cooldown, Some(model.cooldown));
                    }
                }
                Action::End(..) => {}
                Action::Wait(wait) => now += secs(wait),
                Action::Set(mode) => {
                    circuit.set_mode(mode, now);
                    model.set(mode, now);
                }
                Action::ForceOpenFor(time) => {
                    let expected = (model.state != State::Open)
                        .then_some((State::Open, Some(secs(time))));
                    let transition = circuit.force_open_for(secs(time), now);
                    prop_assert_eq!(transition.map(|t| told(&t)), expected);
                    model.force_open_for(secs(time), now);
                    prop_assert_eq!(circuit.is_forced(now), time > 0);
                }
                Action::ProbeNow => {
                    let transition = circuit.probe_now(now);
                    let was_open = transition.is_some();
                    prop_assert!(transition.is_none_or(|t| t.to == State::HalfOpen && t.manual));
                    prop_assert_eq!(was_open, model.probe_now(now));
                }
                Action::Change(settings) => {
                    let mut settings = settings;
                    if !settings.is_windowed() || !model.settings.is_windowed() {
                        // What was counted without a window is not known to one that comes later, nor kept by none.
                        model.ended.clear();
                    }
                    // The window forgets what a smaller one has no room for, also where a greater one follows.
                    let kept = model.window().len();
                    model.ended.drain(..model.ended.len() - kept);
                    settings.least_probe_timeout = secs(1);
                    model.settings = settings;
                    let kept = model.window().len();
                    model.ended.drain(..model.ended.len() - kept);
                    circuit.change_settings(|old| *old = settings, now);
                }
            }
            let snapshot = circuit.snapshot(now);
            prop_assert_eq!(snapshot.state, model.state);
            prop_assert_eq!(snapshot.mode, model.mode);
            prop_assert_eq!(snapshot.failures_in_a_row, model.in_a_row);
            prop_assert_eq!(snapshot.rejected, model.rejected);
            if model.settings.is_windowed() {
                let window = model.window();
                prop_assert_eq!(snapshot.calls, window.len() as u64);
                prop_assert_eq!(snapshot.failures, window.iter().filter(|call| call.0).count() as u64);
                prop_assert_eq!(snapshot.slow_calls, window.iter().filter(|call| call.1).count() as u64);
            } else {
                prop_assert_eq!(snapshot.calls, 0);
            }
            let held = model.probes.iter().filter(|(_, expires)| *expires > now).count();
            prop_assert_eq!(snapshot.probes, held);
            prop_assert_eq!((snapshot.probe_successes, snapshot.probe_failures), (model.good, model.bad));
            // An open circuit has a cause, unless it was opened by hand.
            prop_assert!(model.state != State::Open || model.forced || snapshot.cause.is_some());
            if let State::Open = model.state {
                let left = model.until.map(|until| until.saturating_sub(now)).filter(|left| !left.is_zero());
                prop_assert_eq!(snapshot.time_until_probe, left);
                prop_assert_eq!(circuit.time_until_probe(now), left);
            }
        }
    }

    /// The share of calls that a ramp lets through is the share of the time that has passed, to a call.
    #[test]
    fn a_ramp_lets_its_share_through(ramp in 1..100_u64, calls in 1..300_u32, percent in 0..100_u64) {
        let circuit = circuit(Settings { ramp: Some(secs(ramp)), ..consecutive(0) });
        let call = circuit.pass(Duration::ZERO);
        circuit.end(call, Outcome::Failure, Duration::ZERO);
        let closed = secs(1);
        let probe = circuit.pass(closed);
        prop_assert_eq!(circuit.end(probe, Outcome::Success, closed), CLOSED);
        let now = closed + secs(ramp) * percent as u32 / 100;
        let through = (0..calls).filter(|_| !circuit.rejects_call(now)).count() as f64;
        let share = (percent as f64 / 100.0).max(0.1);
        // The first goes through in any case.
        let expected = 1.0 + share * f64::from(calls);
        prop_assert!(through <= expected + 1e-6, "{through} of {expected}");
        prop_assert!(through + 1.0 > (share * f64::from(calls)).min(f64::from(calls)) - 1e-6);
        prop_assert!((0..50).all(|_| !circuit.rejects_call(closed + secs(ramp))));
    }
}

#[test]
fn generations_wrap_around() {
    let circuit = circuit(consecutive(0));
    let last = Word::new(State::Closed, u32::MAX, 0, 0);
    circuit.word.store(last.0, Ordering::Release);
    let old = circuit.pass(Duration::ZERO);
    let new = circuit.pass(Duration::ZERO);
    let ended = circuit.end(new, Outcome::Failure, Duration::ZERO);
    assert_eq!(ended, opened(secs(1)));
    assert_eq!(circuit.word().generation(), 0);
    assert_eq!(circuit.end(old, Outcome::Failure, Duration::ZERO), None);
}

#[test]
fn the_greatest_threshold_never_opens() {
    let circuit = circuit(consecutive(u32::MAX));
    let word = Word::new(State::Closed, 0, u32::MAX - 1, 0);
    circuit.word.store(word.0, Ordering::Release);
    for _ in 0..3 {
        let call = circuit.pass(Duration::ZERO);
        assert_eq!(circuit.end(call, Outcome::Failure, Duration::ZERO), None);
    }
    assert_eq!(circuit.word().failures(), u32::MAX);
}

#[test]
fn counts_of_many_threads_add_up() {
    let circuit = circuit(consecutive(2000));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let call = circuit.pass(Duration::ZERO);
                    assert_eq!(circuit.end(call, Outcome::Failure, Duration::ZERO), None);
                }
            });
        }
    });
    assert_eq!(circuit.word().failures(), 2000);
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
}

#[test]
fn a_probe_gives_back_its_own_place_only() {
    let settings = Settings {
        half_open_probes: number(3),
        ..consecutive(0)
    };
    let circuit = circuit(settings);
    let call = circuit.pass(secs(9));
    assert!(circuit.end(call, Outcome::Failure, secs(9)).is_some());
    let now = secs(10);
    let [first, second, third] = [(); 3].map(|()| circuit.pass(now));
    assert!(circuit.rejects_call(now));
    assert!(
        [&first, &second, &third]
            .into_iter()
            .all(Admission::is_probe)
    );
    assert_eq!(circuit.end(second, Outcome::Ignored, now), None);
    drop(circuit.pass(now));
    assert!(circuit.rejects_call(now));
}

#[test]
fn calls_in_flight_open_once_they_are_slow() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::HALF),
        slow_call_duration: secs(16),
        count_in_flight: true,
        minimum_calls: number(4),
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let hanging = [(); 3].map(|()| circuit.pass(Duration::ZERO));
    let fast = [(); 3].map(|()| circuit.pass(Duration::ZERO));
    for call in fast {
        assert_eq!(circuit.end(call, Outcome::Success, secs(1)), None);
    }
    drop(circuit.pass(secs(15)));
    assert_eq!(circuit.snapshot(secs(15)).slow_in_flight, 0);
    let answer = circuit.admit(false, || secs(18));
    assert!(answer.admission.is_err());
    assert_eq!(answer.transition.map(|t| told(&t)), opened(secs(1)));
    // They belong to a generation that has passed.
    for call in hanging {
        assert_eq!(circuit.end(call, Outcome::Failure, secs(19)), None);
    }
    assert_eq!(circuit.snapshot(secs(19)).slow_in_flight, 0);
}

/// A call counts either in flight or in the window, never in both.
#[test]
fn a_slow_call_is_counted_once() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(16),
        count_in_flight: true,
        minimum_calls: number(4),
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let calls = [(); 3].map(|()| circuit.pass(Duration::ZERO));
    let now = secs(20);
    assert_eq!(circuit.snapshot(now).slow_in_flight, 3);
    for (ended, call) in (1..).zip(calls) {
        assert_eq!(circuit.end(call, Outcome::Success, now), None);
        let snapshot = circuit.snapshot(now);
        assert_eq!(
            (snapshot.slow_calls, snapshot.slow_in_flight),
            (ended, 3 - ended)
        );
        assert_eq!(snapshot.slow_call_rate(), Some(1.0));
    }
    // Ignored and slow is not counted at all.
    let ignored = circuit.pass(now);
    assert_eq!(circuit.snapshot(secs(40)).slow_in_flight, 1);
    // The fourth slow one opens it; without the ignored one there are three.
    assert_eq!(circuit.end(ignored, Outcome::Ignored, now), None);
    assert_eq!(circuit.snapshot(secs(40)).slow_in_flight, 0);
}

#[test]
fn reserved_places_begin_later() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::HALF),
        slow_call_duration: secs(2),
        minimum_calls: number(1),
        ..consecutive(100)
    };
    for count_in_flight in [false, true] {
        let circuit = circuit(Settings {
            count_in_flight,
            ..settings
        });
        let mut call = circuit.admit(true, || Duration::ZERO).admission.unwrap();
        circuit.begin(&mut call, || secs(10));
        assert_eq!(circuit.end(call, Outcome::Success, secs(11)), None);
        let mut call = circuit.admit(true, || secs(11)).admission.unwrap();
        circuit.begin(&mut call, || secs(20));
        let ended = circuit.end(call, Outcome::Success, secs(22));
        assert_eq!(ended, opened(secs(1)));
    }
}

#[test]
fn jitter_shortens_the_cooldown_by_up_to_its_share() {
    let settings = Settings {
        cooldown: secs(100),
        cooldown_jitter: Some(Ratio::percent(20).unwrap()),
        ..consecutive(0)
    };
    let cooldowns = |seed| -> Vec<Duration> {
        let circuit = Circuit::new(settings, seed);
        let mut now = Duration::ZERO;
        (0..200)
            .map(|_| {
                now += secs(1000);
                let call = circuit.pass(now);
                match circuit.end(call, Outcome::Failure, now) {
                    Some((State::Open, Some(cooldown))) => cooldown,
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    };
    let some = cooldowns(1);
    assert!(
        some.iter()
            .all(|cooldown| (secs(80)..=secs(100)).contains(cooldown))
    );
    let (least, most) = (some.iter().min().unwrap(), some.iter().max().unwrap());
    assert!(*least < secs(82) && *most > secs(98), "{least:?} {most:?}");
    assert_eq!(some, cooldowns(1));
    assert_ne!(some, cooldowns(2));
}

#[test]
fn what_matters_is_kept() {
    let circuit = circuit(consecutive(0));
    assert!(!circuit.matters(Duration::ZERO));
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
    assert!(circuit.matters(Duration::ZERO));
    assert!(!circuit.matters(secs(1)));
    for mode in [
        Mode::ForcedOpen,
        Mode::ForcedClosed,
        Mode::Disabled,
        Mode::ObserveOnly,
    ] {
        circuit.set_mode(mode, secs(2));
        assert!(circuit.matters(secs(2)));
    }
    circuit.set_mode(Mode::Automatic, secs(2));
    assert!(!circuit.matters(secs(2)));
}

#[test]
fn other_settings_leave_the_calls_in_flight_known() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(16),
        count_in_flight: true,
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let calls = [(); 2].map(|()| circuit.pass(Duration::ZERO));
    let slow_in_flight = |at| circuit.snapshot(secs(at)).slow_in_flight;
    assert_eq!(slow_in_flight(40), 2);
    circuit.change_settings(|settings| settings.cooldown = secs(7), secs(41));
    assert_eq!(slow_in_flight(41), 2);
    // What is slow now is another thing: those in flight are no longer known.
    circuit.change_settings(|settings| settings.slow_call_duration = secs(8), secs(42));
    assert_eq!(slow_in_flight(80), 0);
    for call in calls {
        assert_eq!(circuit.end(call, Outcome::Ignored, secs(80)), None);
    }
    let call = circuit.pass(secs(80));
    assert_eq!(slow_in_flight(100), 1);
    circuit.change_settings(|settings| settings.count_in_flight = false, secs(101));
    assert_eq!(slow_in_flight(102), 0);
    assert_eq!(circuit.end(call, Outcome::Ignored, secs(103)), None);
}

/// Of a call that began before calls were timed, the end is no other call's.
#[test]
fn calls_in_flight_can_be_counted_later() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(16),
        ..consecutive(100)
    };
    let circuit = circuit(Settings {
        slow_call_rate: None,
        ..settings
    });
    let untimed = circuit.pass(Duration::ZERO);
    circuit.change_settings(
        |old| {
            *old = Settings {
                count_in_flight: true,
                ..settings
            }
        },
        Duration::ZERO,
    );
    // One in each part that is told apart.
    let calls: Vec<_> = (1..=17).map(|at| circuit.pass(secs(at))).collect();
    assert_eq!(circuit.end(untimed, Outcome::Ignored, secs(17)), None);
    assert_eq!(circuit.snapshot(secs(40)).slow_in_flight, 17);
    drop(calls);
}

/// A place that was reserved before the circuit changed is not among the calls in flight.
#[test]
fn a_stale_reservation_is_not_tracked() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(1),
        count_in_flight: true,
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let mut stale = circuit.admit(true, || Duration::ZERO).admission.unwrap();
    let mut fresh = circuit.admit(true, || Duration::ZERO).admission.unwrap();
    circuit.begin(&mut fresh, || Duration::ZERO);
    assert_eq!(circuit.snapshot(secs(9)).slow_in_flight, 1);
    circuit.set_mode(Mode::Automatic, secs(9));
    circuit.begin(&mut stale, || secs(9));
    assert_eq!(circuit.snapshot(secs(19)).slow_in_flight, 0);
}

/// A ramp is no matter to who reserves a place.
#[test]
fn places_are_reserved_in_spite_of_a_ramp() {
    let circuit = circuit(Settings {
        ramp: Some(secs(100)),
        ..consecutive(0)
    });
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
    let probe = circuit.pass(secs(1));
    assert_eq!(circuit.end(probe, Outcome::Success, secs(1)), CLOSED);
    assert!((0..10).all(|_| circuit.admit(true, || secs(1)).admission.is_ok()));
    assert!(!circuit.rejects_call(secs(1)));
    assert!(circuit.rejects_call(secs(1)));
}

/// Who finds out that all probes hang is rejected, though the cooldown is over at once.
#[test]
fn whoever_finds_that_probes_hang_is_rejected() {
    let circuit = circuit(Settings {
        cooldown: Duration::ZERO,
        ..consecutive(0)
    });
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
    for at in 0..3 {
        assert!(circuit.pass(secs(at)).is_probe());
    }
    let answer = circuit.admit(false, || secs(3));
    assert!(answer.admission.is_err());
    assert_eq!(answer.transition.map(|t| told(&t)), opened(Duration::ZERO));
    assert!(circuit.pass(secs(3)).is_probe());
}
