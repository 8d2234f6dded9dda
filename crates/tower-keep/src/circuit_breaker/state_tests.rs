use proptest::prelude::*;

use super::*;

fn circuit(
    failure_threshold: u32,
    cooldown: u64,
    probes: u32,
    probe_timeout: Option<u64>,
) -> Circuit {
    Circuit::new(Settings {
        failure_threshold,
        cooldown: Duration::from_secs(cooldown),
        probes,
        probe_timeout: probe_timeout.map(Duration::from_secs),
        least_probe_timeout: Duration::from_secs(1),
    })
}

/// The rules in the plainest form: one generation number, one list, no packing.
struct Model {
    settings: Settings,
    state: State,
    generation: u64,
    failures: u32,
    until: Option<Duration>,
    held_closed: bool,
    probes: Vec<(usize, Duration)>,
}

impl Model {
    fn transit(&mut self, state: State, until: Option<Duration>) {
        self.generation += 1;
        self.state = state;
        self.failures = 0;
        self.until = until;
        self.probes.clear();
    }

    fn open(&mut self, now: Duration) {
        let until = now.saturating_add(self.settings.cooldown);
        self.transit(State::Open, Some(until));
    }

    /// The generation if the call goes through.
    fn admit(&mut self, call: usize, now: Duration) -> Option<u64> {
        match self.state {
            State::Closed => return Some(self.generation),
            State::Open if self.until.is_some_and(|until| until <= now) => {
                self.transit(State::HalfOpen, None)
            }
            State::Open => return None,
            State::HalfOpen => self.probes.retain(|(_, expires)| *expires > now),
        }
        if self.probes.len() >= self.settings.probes as usize {
            return None;
        }
        let timeout = self
            .settings
            .probe_timeout
            .unwrap_or(self.settings.cooldown.max(Duration::from_secs(1)));
        self.probes.push((call, now.saturating_add(timeout)));
        Some(self.generation)
    }

    fn record(&mut self, call: usize, generation: u64, outcome: Outcome, now: Duration) {
        if generation != self.generation {
            return;
        }
        self.probes.retain(|(probe, _)| *probe != call);
        match (self.state, outcome) {
            (State::Closed, Outcome::Success) => self.failures = 0,
            (State::Closed, Outcome::Failure) => {
                self.failures += 1;
                if self.failures > self.settings.failure_threshold && !self.held_closed {
                    self.open(now);
                }
            }
            (State::HalfOpen, Outcome::Success) => self.transit(State::Closed, None),
            (State::HalfOpen, Outcome::Failure) => self.open(now),
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Call,
    End(usize, Outcome),
    Wait(u64),
    ForceOpen,
    ForceClosed,
    Reset,
}

fn action() -> impl Strategy<Value = Action> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Failure),
        2 => Just(Outcome::Success),
        1 => Just(Outcome::Ignored)
    ];
    prop_oneof![
        8 => Just(Action::Call),
        8 => (any::<usize>(), outcome).prop_map(|(call, outcome)| Action::End(call, outcome)),
        4 => (0..12u64).prop_map(Action::Wait),
        1 => Just(Action::ForceOpen),
        1 => Just(Action::ForceClosed),
        1 => Just(Action::Reset),
    ]
}

proptest! {
    #[test]
    fn equals_the_model(
        threshold in 0..4u32,
        cooldown in 0..10u64,
        probes in 1..4u32,
        probe_timeout in proptest::option::of(0..10u64),
        actions in proptest::collection::vec(action(), 1..200),
    ) {
        let circuit = circuit(threshold, cooldown, probes, probe_timeout);
        let mut model = Model {
            settings: circuit.settings(),
            state: State::Closed,
            generation: 0,
            failures: 0,
            until: None,
            held_closed: false,
            probes: Vec::new(),
        };
        let mut now = Duration::ZERO;
        let mut under_way: Vec<(usize, Admission, u64)> = Vec::new();
        for (number, action) in actions.into_iter().enumerate() {
            match action {
                Action::Call => {
                    let rejects = circuit.rejects(|| now).is_some();
                    let admitted = circuit.admit(|| now);
                    prop_assert_eq!(rejects, admitted.is_err());
                    let expected = model.admit(number, now);
                    prop_assert_eq!(admitted.is_ok(), expected.is_some());
                    if let (Ok((admission, _)), Some(generation)) = (admitted, expected) {
                        under_way.push((number, admission, generation));
                    }
                }
                Action::End(call, outcome) if !under_way.is_empty() => {
                    let (number, admission, generation) = under_way.remove(call % under_way.len());
                    let before = model.state;
                    model.record(number, generation, outcome, now);
                    let transition = circuit.record(&admission, outcome, || now);
                    prop_assert_eq!(transition.is_some(), before != model.state);
                }
                Action::End(..) => {}
                Action::Wait(secs) => now += Duration::from_secs(secs),
                Action::ForceOpen => {
                    circuit.force_open();
                    model.held_closed = false;
                    model.transit(State::Open, None);
                }
                Action::ForceClosed => {
                    circuit.force_closed();
                    model.held_closed = true;
                    model.transit(State::Closed, None);
                }
                Action::Reset => {
                    circuit.reset();
                    model.held_closed = false;
                    model.transit(State::Closed, None);
                }
            }
            prop_assert_eq!(circuit.state(), model.state);
            prop_assert_eq!(circuit.failures(), model.failures);
            if let State::Open = model.state {
                let left = model.until.map(|until| until.saturating_sub(now)).filter(|left| !left.is_zero());
                prop_assert_eq!(circuit.time_until_probe(now), left);
            }
        }
    }
}

#[test]
fn the_packed_word_keeps_its_parts() {
    for state in [State::Closed, State::Open, State::HalfOpen] {
        for (generation, failures) in [(0, 0), (1, u32::MAX), ((1 << 30) - 1, 7)] {
            let word = Word::new(state, generation, failures);
            assert_eq!(
                (word.state(), word.generation(), word.failures()),
                (state, generation, failures)
            );
        }
    }
}

#[test]
fn generations_wrap_around() {
    let circuit = circuit(0, 1, 1, None);
    circuit.word.store(
        Word::new(State::Closed, (1 << 30) - 1, 0).0,
        Ordering::Release,
    );
    let (old, _) = circuit.admit(|| Duration::ZERO).unwrap();
    let (new, _) = circuit.admit(|| Duration::ZERO).unwrap();
    assert_eq!(
        circuit.record(&new, Outcome::Failure, || Duration::ZERO),
        Some(Transition::Opened(Duration::from_secs(1)))
    );
    assert_eq!(circuit.word().generation(), 0);
    assert_eq!(
        circuit.record(&old, Outcome::Failure, || Duration::ZERO),
        None
    );
}

#[test]
fn the_greatest_threshold_never_opens() {
    let circuit = circuit(u32::MAX, 1, 1, None);
    circuit.word.store(
        Word::new(State::Closed, 0, u32::MAX - 1).0,
        Ordering::Release,
    );
    for _ in 0..3 {
        let (admission, _) = circuit.admit(|| Duration::ZERO).unwrap();
        assert_eq!(
            circuit.record(&admission, Outcome::Failure, || Duration::ZERO),
            None
        );
    }
    assert_eq!(circuit.failures(), u32::MAX);
}

#[test]
fn counts_of_many_threads_add_up() {
    let circuit = circuit(2000, 1, 1, None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let (admission, _) = circuit.admit(|| Duration::ZERO).unwrap();
                    assert_eq!(
                        circuit.record(&admission, Outcome::Failure, || Duration::ZERO),
                        None
                    );
                }
            });
        }
    });
    assert_eq!(circuit.failures(), 2000);
    let (admission, _) = circuit.admit(|| Duration::ZERO).unwrap();
    assert!(
        circuit
            .record(&admission, Outcome::Failure, || Duration::ZERO)
            .is_some()
    );
}

#[test]
fn a_probe_gives_back_its_own_place_only() {
    let circuit = circuit(0, 1, 3, None);
    let now = || Duration::from_secs(9);
    let (admission, _) = circuit.admit(now).unwrap();
    assert!(circuit.record(&admission, Outcome::Failure, now).is_some());
    let now = || Duration::from_secs(10);
    let probes = [(); 3].map(|()| circuit.admit(now).unwrap().0);
    assert!(circuit.admit(now).is_err());
    assert!(probes.iter().all(Admission::is_probe));
    assert_eq!(circuit.record(&probes[1], Outcome::Ignored, now), None);
    let (again, _) = circuit.admit(now).unwrap();
    assert!(circuit.admit(now).is_err());
    drop(again);
}
