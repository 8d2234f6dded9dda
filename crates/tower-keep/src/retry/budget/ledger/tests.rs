//! Tests of the budget's counts.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use proptest::prelude::*;

use super::*;

const YEAR: u64 = 365 * 24 * 3600;
const WINDOW: Duration = Duration::from_secs(10);
const SHARDS: usize = 3;

fn budget(percent: u32, floor: u64) -> Ledger {
    Ledger::new(Ratio::percent(percent).unwrap(), floor, WINDOW, SHARDS)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Withdraws all retries that the budget grants now.
fn drain(budget: &Ledger, now: Duration) -> u64 {
    let mut granted = 0;
    while budget.withdraw(now) {
        granted += 1;
    }
    granted
}

/// R25b: exact at every ratio, while tower's budget rounds 60 % up to 100 %.
#[test]
fn is_exact_at_every_ratio() {
    for percent in 1..=100 {
        let budget = budget(percent, 0);
        for firsts in 1..=300 {
            budget.deposit(secs(1), 0);
            drain(&budget, secs(1));
            let granted = budget.balance_at(secs(1)).retries;
            assert_eq!(granted, u64::from(percent) * firsts / 100, "{percent} %");
        }
    }
}

#[test]
fn the_floor_is_granted_without_any_first_attempts() {
    let budget = budget(20, 3);
    assert_eq!(drain(&budget, secs(0)), 3);
    // The floor is not added to the share: the share of 15 first attempts is 3, too.
    (0..15).for_each(|_| budget.deposit(secs(1), 0));
    assert_eq!(drain(&budget, secs(1)), 0);
    (0..5).for_each(|_| budget.deposit(secs(1), 0));
    assert_eq!(drain(&budget, secs(1)), 1);
}

#[test]
fn what_has_left_the_window_counts_no_more() {
    let budget = budget(10, 0);
    (0..100).for_each(|_| budget.deposit(secs(0), 0));
    assert_eq!(drain(&budget, secs(9)), 10);
    let balance = |first_attempts, retries, available| Balance {
        first_attempts,
        retries,
        available,
    };
    assert_eq!(budget.balance_at(secs(9)), balance(100, 10, 0));
    // The calls leave the window first, then the retries.
    assert_eq!(budget.balance_at(secs(10)), balance(0, 10, 0));
    (0..100).for_each(|_| budget.deposit(secs(18), 0));
    assert_eq!(budget.balance_at(secs(18)), balance(100, 10, 0));
    assert_eq!(budget.balance_at(secs(19)), balance(100, 0, 10));
}

/// A year without a call only empties the window. With work for each idle second or window, a
/// thousand idle years would not end.
#[test]
fn idle_time_costs_nothing() {
    let budget = Ledger::new(Ratio::FIFTH, 0, Ledger::SHORTEST, SHARDS);
    for year in 0..1000 {
        let now = secs(year * YEAR);
        (0..10).for_each(|_| budget.deposit(now, 0));
        assert_eq!(drain(&budget, now), 2, "in year {year}");
    }
}

#[test]
fn a_window_of_any_length_works() {
    for window in [Duration::ZERO, Ledger::SHORTEST, Duration::MAX] {
        let budget = Ledger::new(Ratio::ALL, 0, window, SHARDS);
        let century = secs(100 * YEAR);
        budget.deposit(century, 0);
        assert_eq!(drain(&budget, century), 1);
    }
}

#[test]
fn a_count_stops_at_its_most() {
    let budget = budget(1, 0);
    budget.firsts[0].0[0].store(COUNT - 1, Ordering::Relaxed);
    (0..3).for_each(|_| budget.deposit(secs(0), 0));
    assert_eq!(budget.balance_at(secs(0)).first_attempts, COUNT);
}

/// A caller with an old time does not count for a later cut, and sees all retries of other callers.
#[test]
fn an_old_clock_takes_nothing_twice() {
    let budget = budget(100, 0);
    (0..4).for_each(|_| budget.deposit(secs(5), 0));
    assert_eq!(drain(&budget, secs(7)), 4);
    assert_eq!(drain(&budget, secs(5)), 0);
    // Bucket 5 now belongs to second 15.
    budget.deposit(secs(15), 0);
    budget.deposit(secs(5), 0);
    assert_eq!(budget.balance_at(secs(15)).first_attempts, 1);
}

/// Threads withdraw from one budget while other threads deposit: never one retry too many.
#[test]
fn no_overdraft() {
    const TAKERS: usize = 4;
    for percent in [1, 33, 60, 100] {
        let budget = Arc::new(budget(percent, 2));
        let start = Arc::new(Barrier::new(TAKERS));
        let threads: Vec<_> = (0..TAKERS)
            .map(|taker| {
                let (budget, start) = (budget.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    (0..2000).fold(0, |granted, _| {
                        budget.deposit(secs(3), taker);
                        granted + drain(&budget, secs(3))
                    })
                })
            })
            .collect();
        let granted: u64 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        let firsts = 2000 * TAKERS as u64;
        assert_eq!(granted, u64::from(percent) * firsts / 100);
        assert_eq!(budget.balance_at(secs(3)).first_attempts, firsts);
    }
}

/// A model that remembers the time of every deposit and withdrawal.
#[derive(Default)]
struct Model {
    firsts: Vec<u64>,
    retries: Vec<u64>,
}

impl Model {
    fn balance(&self, percent: u64, floor: u64, now: u64) -> Balance {
        // In tenths of the window: the current tenth and the nine before.
        let counts = |times: &Vec<u64>| {
            let live = times.iter().filter(|time| now / 1000 - *time / 1000 < 10);
            live.count() as u64
        };
        let (firsts, retries) = (counts(&self.firsts), counts(&self.retries));
        Balance {
            first_attempts: firsts,
            retries,
            available: (percent * firsts / 100).max(floor).saturating_sub(retries),
        }
    }
}

proptest! {
    #[test]
    fn equals_the_model(
        percent in 1..=100u32,
        floor in 0..4u64,
        steps in proptest::collection::vec(
            (
                prop_oneof![
                    8 => Just(0),
                    6 => 0..1500u64,
                    2 => 0..30_000u64,
                    1 => 0..1_000_000_000_000u64,
                ],
                0..3u8,
                0..SHARDS,
            ),
            1..300,
        ),
    ) {
        let budget = budget(percent, floor);
        let mut model = Model::default();
        let mut now = 0;
        for (pause, what, shard) in steps {
            now += pause;
            let at = Duration::from_millis(now);
            let expected = model.balance(u64::from(percent), floor, now);
            prop_assert_eq!(budget.balance_at(at), expected);
            if what == 0 {
                let granted = budget.withdraw(at);
                prop_assert_eq!(granted, expected.available > 0);
                model.retries.extend(granted.then_some(now));
            } else {
                budget.deposit(at, shard);
                model.firsts.push(now);
            }
        }
    }
}
