//! The slot of a key.

use std::{sync::Arc, thread};

use proptest::prelude::*;

use super::*;

/// R2: whichever comes first decides a turn, and nothing changes it.
#[test]
fn a_turn_is_decided_once() {
    let turn = Decision::new();
    assert!(!turn.is_replaced());
    assert!(turn.finish());
    assert!(!turn.replace() && !turn.is_replaced());

    let turn = Decision::new();
    assert!(turn.replace());
    assert!(turn.is_replaced() && !turn.finish() && !turn.replace());
}

/// R2: of a result and a newer call that come at the same time, one wins.
#[test]
fn one_of_two_threads_decides_a_turn() {
    for _ in 0..2_000 {
        let turn = Arc::new(Decision::new());
        let other = Arc::clone(&turn);
        let finishes = thread::spawn(move || other.finish());
        let replaced = turn.replace();
        assert_ne!(finishes.join().unwrap(), replaced);
        assert_eq!(turn.is_replaced(), replaced);
    }
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Enters,
    /// The call with this number.
    IsDue(usize),
    Leaves(usize),
    /// The running call.
    IsForgotten,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    // Mostly of the last few calls, which are the ones that still matter.
    let deed = prop_oneof![
        3 => Just(Deed::Enters),
        3 => (0..4usize).prop_map(Deed::IsDue),
        3 => (0..4usize).prop_map(Deed::Leaves),
        1 => Just(Deed::IsForgotten),
    ];
    proptest::collection::vec(deed, 0..60)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Waiting,
    /// It waits for nothing but the running call.
    Due,
    Running,
    Evicted,
}

/// Every call there ever was, in the order in which they came, and what it is now: looked through from the start.
#[derive(Default)]
struct Model(Vec<(Is, usize)>);

impl Model {
    fn that(&self, holds: impl Fn(Is) -> bool) -> Option<usize> {
        self.0.iter().position(|(is, _)| holds(*is))
    }

    fn waiting(&self) -> Option<usize> {
        self.that(|is| matches!(is, Is::Waiting | Is::Due))
    }

    fn running(&self) -> Option<usize> {
        self.that(|is| is == Is::Running)
    }

    /// The replaced call, and since when the new call's burst lasts.
    fn enters(&mut self, as_what: Is) -> (Option<usize>, usize) {
        let replaced = match as_what {
            Is::Running => self.running(),
            _ => self.waiting(),
        };
        let since = replaced.map_or(self.0.len(), |before| self.0[before].1);
        if let Some(before) = replaced {
            self.0[before].0 = Is::Evicted;
        }
        self.0.push((as_what, since));
        (replaced, since)
    }

    fn is_due(&mut self, id: usize) -> bool {
        if self.waiting() != Some(id) {
            return false;
        }
        let free = self.running().is_none();
        self.0[id].0 = if free { Is::Running } else { Is::Due };
        free
    }

    /// The call, if it was there, and who can begin now.
    fn leaves(&mut self, id: usize) -> (Option<usize>, Option<usize>) {
        let Some((was, _)) = self.0.get(id).copied().filter(|(is, _)| *is != Is::Evicted) else {
            return (None, None);
        };
        self.0[id].0 = Is::Evicted;
        let next = (was == Is::Running)
            .then(|| self.that(|is| is == Is::Due))
            .flatten();
        (Some(id), next)
    }

    /// The call that ran, and who can begin now.
    fn forgotten(&mut self) -> (Option<usize>, Option<usize>) {
        match self.running() {
            Some(running) => self.leaves(running),
            None => (None, None),
        }
    }
}

proptest! {
    /// R2, R54: a slot does what the plain list of all calls says, whether newer calls take it or wait for it.
    #[test]
    fn a_place_does_as_the_list_of_all_calls(deeds in deeds(), takes: bool) {
        let mut model = Model::default();
        let mut slot: Slot<usize, usize> = Slot::default();
        for deed in deeds {
            let count = model.0.len();
            match deed {
                Deed::Enters if takes => {
                    let replaced = slot.take(count as u64, count);
                    prop_assert_eq!(replaced, model.enters(Is::Running).0);
                }
                Deed::Enters => {
                    let queued = slot.queue(count as u64, count, count);
                    let expected = model.enters(Is::Waiting);
                    prop_assert_eq!((queued.replaced, queued.since), expected);
                }
                Deed::IsDue(back) => {
                    let id = count.wrapping_sub(back + 1);
                    prop_assert_eq!(slot.start(id as u64), model.is_due(id));
                }
                Deed::Leaves(back) => {
                    let id = count.wrapping_sub(back + 1);
                    let left = slot.leave(id as u64);
                    prop_assert_eq!((left.gone, left.next), model.leaves(id));
                }
                Deed::IsForgotten => {
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
