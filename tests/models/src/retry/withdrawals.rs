//! No more retries than the window's calls allow, and no call uncounted.

use std::{sync::Arc, time::Duration};

use super::ledger::Ledger;
use crate::{
    ratio::Ratio,
    run::{explore, spawn},
};

/// The window is cut into ten.
const CUT: Duration = Duration::from_secs(1);

fn budget(floor: u64) -> Arc<Ledger> {
    Arc::new(Ledger::new(Ratio::HALF, floor, CUT * 10, 2))
}

/// When the cut of this number begins.
fn cut(number: u32) -> Duration {
    CUT * number
}

/// What all the calls of one moment come to.
fn granted<const CALLS: usize>(withdrawals: [bool; CALLS]) -> u64 {
    withdrawals.into_iter().map(u64::from).sum()
}

/// Two withdrawals cannot both take the last retry.
pub fn the_last_retry_goes_once() {
    explore(|| {
        let budget = budget(0);
        budget.deposit(cut(0), 0);
        budget.deposit(cut(0), 1);
        let threads = [(); 2].map(|()| {
            let budget = Arc::clone(&budget);
            spawn(move || budget.withdraw(cut(0)))
        });
        let mine = budget.withdraw(cut(0));
        let [first, second] = threads.map(|thread| thread.join());
        assert_eq!(granted([mine, first, second]), 1);
        let balance = budget.balance_at(cut(0));
        assert_eq!((balance.retries(), balance.available()), (1, 0));
    });
}

/// Nor the floor's.
pub fn the_floor_is_given_out_once() {
    explore(|| {
        let budget = budget(1);
        let threads = [0, 1].map(|shard| {
            let budget = Arc::clone(&budget);
            spawn(move || {
                budget.deposit(cut(0), shard);
                budget.withdraw(cut(0))
            })
        });
        let [first, second] = threads.map(|thread| thread.join());
        // A half of two calls is no more than the floor.
        assert_eq!(granted([first, second]), 1);
        assert_eq!(budget.balance_at(cut(0)).first_attempts(), 2);
    });
}

/// A retry is granted for counted calls, and of calls at once none is lost: in one shard or in two.
pub fn each_call_counts_once() {
    for shards in [[0, 0], [0, 1]] {
        let seen = explore(move || {
            let budget = budget(0);
            let threads = shards.map(|shard| {
                let budget = Arc::clone(&budget);
                spawn(move || {
                    budget.deposit(cut(0), shard);
                    budget.deposit(cut(0), shard);
                })
            });
            let granted = granted([budget.withdraw(cut(0)), budget.withdraw(cut(0))]);
            for thread in threads {
                thread.join();
            }
            let balance = budget.balance_at(cut(0));
            assert_eq!(balance.first_attempts(), 4);
            assert_eq!(balance.retries(), granted);
            assert_eq!(balance.available(), 2 - granted);
            granted
        });
        assert_eq!(seen, [0, 1, 2].into());
    }
}

/// The first who come to a bucket after a round empty it once, and the calls of the round before
/// leave the window.
pub fn a_bucket_is_emptied_once() {
    let seen = explore(|| {
        let budget = budget(0);
        budget.deposit(cut(0), 0);
        budget.deposit(cut(0), 1);
        let threads = [(); 2].map(|()| {
            let budget = Arc::clone(&budget);
            spawn(move || budget.deposit(cut(10), 0))
        });
        let mine = budget.withdraw(cut(10));
        for thread in threads {
            thread.join();
        }
        let balance = budget.balance_at(cut(10));
        assert_eq!(balance.first_attempts(), 2);
        assert_eq!(balance.retries(), u64::from(mine));
        mine
    });
    // Not for the two of before.
    assert_eq!(seen.len(), 2);
}

/// Calls that left the window grant nothing, whether their bucket is in use again or not.
pub fn calls_of_before_grant_nothing() {
    explore(|| {
        let budget = budget(0);
        budget.deposit(cut(0), 0);
        budget.deposit(cut(0), 1);
        let other = Arc::clone(&budget);
        let calling = spawn(move || other.deposit(cut(10), 0));
        assert!(!budget.withdraw(cut(10)), "a half of one call is nothing");
        calling.join();
        assert_eq!(budget.balance_at(cut(10)).first_attempts(), 1);
    });
}

/// A call that was held up for a whole window does not count for the wrong one.
pub fn a_late_call_spoils_no_later_bucket() {
    explore(|| {
        let budget = budget(0);
        let other = Arc::clone(&budget);
        let late = spawn(move || {
            other.deposit(cut(0), 0);
            other.deposit(cut(0), 0);
        });
        budget.deposit(cut(10), 0);
        let mine = budget.withdraw(cut(10));
        late.join();
        assert!(!mine, "a half of one call is nothing");
        assert_eq!(budget.balance_at(cut(10)).first_attempts(), 1);
    });
}

/// Of two clocks that differ a little, the one behind does not open the window of before again.
pub fn time_does_not_go_back() {
    explore(|| {
        let budget = budget(1);
        let other = Arc::clone(&budget);
        let behind = spawn(move || other.withdraw(cut(9)));
        let mine = budget.withdraw(cut(10));
        assert_eq!(granted([mine, behind.join()]), 1);
        assert_eq!(budget.balance_at(cut(10)).retries(), 1);
    });
}

/// A balance that is read meanwhile is one of the balances that there were.
pub fn the_balance_is_of_one_moment() {
    let seen = explore(|| {
        let budget = budget(2);
        let other = Arc::clone(&budget);
        let spending = spawn(move || {
            assert!(other.withdraw(cut(3)));
            assert!(other.withdraw(cut(12)));
        });
        // By a clock that is behind.
        let balance = budget.balance_at(cut(3));
        spending.join();
        assert_eq!(balance.retries() + balance.available(), 2);
        balance.retries()
    });
    assert_eq!(seen, [0, 1, 2].into());
}
