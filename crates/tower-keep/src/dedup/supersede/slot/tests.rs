//! Tests of a key's slot and of its decision.

use std::{sync::Arc, thread};

use proptest::prelude::*;

use super::*;

/// R2: the first outcome decides, and nothing changes it.
#[test]
fn a_decision_is_made_once() {
    let decision = SlotDecision::new();
    assert!(!decision.is_replaced());
    assert!(decision.finish());
    assert!(!decision.replace() && !decision.is_replaced());

    let decision = SlotDecision::new();
    assert!(decision.replace());
    assert!(decision.is_replaced() && !decision.finish() && !decision.replace());
}

/// R2: if a result and a newer call come at the same time, one of them wins.
#[test]
fn one_of_two_threads_decides() {
    for _ in 0..2_000 {
        let decision = Arc::new(SlotDecision::new());
        let other = Arc::clone(&decision);
        let finishes = thread::spawn(move || other.finish());
        let replaced = decision.replace();
        assert_ne!(finishes.join().unwrap(), replaced);
        assert_eq!(decision.is_replaced(), replaced);
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Enters,
    /// The call with this number, counted back from the last one.
    IsDue(usize),
    Leaves(usize),
    /// The running call.
    IsForgotten,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    // Only the last few calls still matter.
    let action = prop_oneof![
        3 => Just(Action::Enters),
        3 => (0..4usize).prop_map(Action::IsDue),
        3 => (0..4usize).prop_map(Action::Leaves),
        1 => Just(Action::IsForgotten),
    ];
    proptest::collection::vec(action, 0..60)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallState {
    Waiting,
    /// It waits for nothing but the running call.
    Due,
    Running,
    Evicted,
}

/// All calls in the order in which they came, with their current states.
#[derive(Default)]
struct Model(Vec<(CallState, usize)>);

impl Model {
    fn find(&self, holds: impl Fn(CallState) -> bool) -> Option<usize> {
        self.0.iter().position(|(state, _)| holds(*state))
    }

    fn waiting(&self) -> Option<usize> {
        self.find(|state| matches!(state, CallState::Waiting | CallState::Due))
    }

    fn running(&self) -> Option<usize> {
        self.find(|state| state == CallState::Running)
    }

    /// Returns the replaced call, and the start of the new call's burst.
    fn enters(&mut self, state: CallState) -> (Option<usize>, usize) {
        let replaced = match state {
            CallState::Running => self.running(),
            _ => self.waiting(),
        };
        let since = replaced.map_or(self.0.len(), |before| self.0[before].1);
        if let Some(before) = replaced {
            self.0[before].0 = CallState::Evicted;
        }
        self.0.push((state, since));
        (replaced, since)
    }

    fn is_due(&mut self, id: usize) -> bool {
        if self.waiting() != Some(id) {
            return false;
        }
        let free = self.running().is_none();
        self.0[id].0 = if free {
            CallState::Running
        } else {
            CallState::Due
        };
        free
    }

    /// Returns the call, if it was there, and the call that can begin now.
    fn leaves(&mut self, id: usize) -> (Option<usize>, Option<usize>) {
        let Some((was, _)) = self
            .0
            .get(id)
            .copied()
            .filter(|(state, _)| *state != CallState::Evicted)
        else {
            return (None, None);
        };
        self.0[id].0 = CallState::Evicted;
        let next = (was == CallState::Running)
            .then(|| self.find(|state| state == CallState::Due))
            .flatten();
        (Some(id), next)
    }

    /// Returns the call that ran, and the call that can begin now.
    fn forgotten(&mut self) -> (Option<usize>, Option<usize>) {
        match self.running() {
            Some(running) => self.leaves(running),
            None => (None, None),
        }
    }
}

proptest! {
    /// R2, R54: a slot behaves as the plain list of all calls, whether newer calls take it or wait
    /// for it.
    #[test]
    fn a_slot_does_as_the_list_of_all_calls(actions in actions(), takes: bool) {
        let mut model = Model::default();
        let mut slot: Slot<usize, usize> = Slot::default();
        for action in actions {
            let count = model.0.len();
            match action {
                Action::Enters if takes => {
                    let replaced = slot.take(count as u64, count);
                    prop_assert_eq!(replaced, model.enters(CallState::Running).0);
                }
                Action::Enters => {
                    let queued = slot.queue(count as u64, count, count);
                    let expected = model.enters(CallState::Waiting);
                    prop_assert_eq!((queued.replaced, queued.since), expected);
                }
                Action::IsDue(back) => {
                    let id = count.wrapping_sub(back + 1);
                    prop_assert_eq!(slot.start(id as u64), model.is_due(id));
                }
                Action::Leaves(back) => {
                    let id = count.wrapping_sub(back + 1);
                    let left = slot.leave(id as u64);
                    prop_assert_eq!((left.gone, left.next), model.leaves(id));
                }
                Action::IsForgotten => {
                    let left = slot.forget();
                    let expected = model.forgotten();
                    prop_assert_eq!((left.gone, left.next), expected);
                }
            }
            let calls: Vec<_> = slot.calls().map(|(call, waits)| (*call, waits)).collect();
            let running = model.running().map(|id| (id, false));
            let waiting = model.waiting().map(|id| (id, true));
            prop_assert_eq!(&calls, &running.into_iter().chain(waiting).collect::<Vec<_>>());
            prop_assert_eq!(slot.is_free(), calls.is_empty());
        }
    }
}
