//! The slot of a key that calls take from one another, or wait for.

use std::{sync::Arc, time::Duration};

use super::{
    mode::Debounce,
    supersede::slot_table::{SlotAdmission, SlotGuard, SlotTable},
};
use crate::run::{Sleeper, Unhurt, explore, spawn};

const KEY: u8 = 7;

type Held = Unhurt<SlotGuard<u8>>;

fn latest(slots: &Arc<SlotTable<u8>>) -> Held {
    let (guard, admission) = slots.take_slot(KEY, None, None);
    assert!(matches!(admission, SlotAdmission::Begins));
    Unhurt::new(guard)
}

/// A call that waits for nothing but the running call: its quiet has no length. Whether it begins
/// at once.
fn lines_up(slots: &Arc<SlotTable<u8>>) -> (Held, bool) {
    let mode = Debounce {
        quiet: Duration::ZERO,
        max_wait: None,
    };
    let (guard, admission) = slots.queue(KEY, None, None, &mode);
    (
        Unhurt::new(guard),
        matches!(admission, SlotAdmission::Begins),
    )
}

/// `Wait`: until the call has the slot (`true`) or was replaced.
fn begins(guard: &mut Held, sleeper: &Sleeper) -> bool {
    let guard = guard.get_mut();
    loop {
        guard.register(&sleeper.waker());
        if guard.is_replaced() {
            return false;
        }
        if guard.start() {
            return true;
        }
        if guard.is_replaced() {
            return false;
        }
        sleeper.sleep();
    }
}

/// R64 `latest`: the newer call has its slot whatever the older one does. That has its result, or
/// was replaced.
pub fn a_newer_call_meets_a_result() {
    let seen = explore(|| {
        let slots = Arc::<SlotTable<u8>>::default();
        let mut older = latest(&slots);
        let finishing = spawn(move || {
            let finished = older.get_mut().finish();
            assert_eq!(finished, !older.get_mut().is_replaced());
            finished
        });
        let mut newer = latest(&slots);
        let finished = finishing.join();
        assert!(newer.get_mut().finish(), "nobody took its slot");
        drop(newer);
        assert_eq!(slots.len(), 0, "the key is free");
        finished
    });
    assert_eq!(seen, [false, true].into());
}

/// R64 `latest`: an older call that waits is woken, though the newer one has long gone on.
pub fn an_older_call_is_woken() {
    explore(|| {
        let slots = Arc::<SlotTable<u8>>::default();
        let mut older = latest(&slots);
        let waiting = spawn(move || {
            let sleeper = Sleeper::default();
            while !older.get_mut().is_replaced() {
                older.get_mut().register(&sleeper.waker());
                if !older.get_mut().is_replaced() {
                    sleeper.sleep();
                }
            }
            older
        });
        let newer = latest(&slots);
        drop(newer);
        assert_eq!(slots.len(), 0, "the key is free");
        drop(waiting.join());
    });
}

/// R64 `latest`: the end of an older call that was set aside leaves the slot to the newest.
pub fn the_end_of_an_older_call_takes_no_place() {
    explore(|| {
        let slots = Arc::<SlotTable<u8>>::default();
        let older = latest(&slots);
        let newer = latest(&slots);
        let leaving = spawn(move || drop(older));
        let replaced = spawn(move || {
            let mut newer = newer;
            newer.get_mut().finish()
        });
        let newest = latest(&slots);
        leaving.join();
        replaced.join();
        assert_eq!(slots.len(), 1);
        drop(newest);
        assert_eq!(slots.len(), 0, "the key is free");
    });
}

/// R64 `debounce`: the call that waits begins, however the running call comes to be dropped.
pub fn a_place_is_left_to_the_waiting_call() {
    explore(|| {
        let slots = Arc::<SlotTable<u8>>::default();
        let (running, begun) = lines_up(&slots);
        assert!(begun);
        let (mut waiting, begun) = lines_up(&slots);
        assert!(!begun);
        let leaving = spawn(move || drop(running));
        assert!(begins(&mut waiting, &Sleeper::default()));
        leaving.join();
        drop(waiting);
        assert_eq!(slots.len(), 0, "the key is free");
    });
}

/// R64 `debounce`: as the running call is dropped, a third call comes. It takes the slot of the
/// waiting call, or that has begun; a replaced call never begins, and nobody waits for it.
pub fn a_third_call_replaces_or_waits() {
    let seen = explore(|| {
        let slots = Arc::<SlotTable<u8>>::default();
        let (running, _) = lines_up(&slots);
        let (mut second, _) = lines_up(&slots);
        let leaving = spawn(move || drop(running));
        let waiting = spawn(move || begins(&mut second, &Sleeper::default()));
        let (mut third, at_once) = lines_up(&slots);
        assert!(at_once || begins(&mut third, &Sleeper::default()));
        leaving.join();
        let second_began = waiting.join();
        drop(third);
        assert_eq!(slots.len(), 0, "the key is free");
        second_began
    });
    assert_eq!(seen, [false, true].into());
}

/// R64 `debounce`: the second call was woken for its turn, or is yet to be, and is set aside. The
/// third goes on without it.
pub fn a_turn_that_nobody_takes_holds_nobody_up() {
    let seen = explore(|| {
        let slots = Arc::<SlotTable<u8>>::default();
        let (running, _) = lines_up(&slots);
        let (mut aside, _) = lines_up(&slots);
        aside.get_mut().register(&Sleeper::default().waker());
        assert!(!aside.get_mut().start());
        let leaving = spawn(move || drop(running));
        let (mut third, at_once) = lines_up(&slots);
        assert!(at_once || begins(&mut third, &Sleeper::default()));
        leaving.join();
        assert!(aside.get_mut().is_replaced());
        at_once
    });
    assert_eq!(seen, [false, true].into());
}
