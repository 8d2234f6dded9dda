//! Polling by hand.

use std::{
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Poll, Waker},
};

use tokio::time::{advance, sleep};
use tower_keep_test::{Polled, WakeCounter, secs};

fn panics<T>(work: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

#[test]
fn wakes_are_counted_over_clones() {
    let counter = WakeCounter::new();
    let waker = counter.waker();
    waker.wake_by_ref();
    let clones = [waker.clone(), counter.clone().waker()];
    clones.into_iter().for_each(Waker::wake);
    assert_eq!(counter.wakes(), 3);
    assert!(waker.will_wake(&counter.waker()));
}

#[tokio::test(start_paused = true)]
async fn a_timer_waits_is_woken_and_completes() {
    let mut sleep = Polled::new(sleep(secs(1)));
    assert!(!sleep.is_woken());
    sleep.assert_waiting();
    assert!(!sleep.is_done());
    assert_eq!((sleep.polls(), sleep.wakes()), (1, 0));
    assert!(panics(|| sleep.assert_woken()));
    advance(secs(1)).await;
    sleep.assert_woken();
    sleep.assert_ready();
    assert!(sleep.is_done());
    assert!(format!("{sleep:?}").contains("polls: 2"));
    assert_eq!((sleep.polls(), sleep.wakes()), (2, 1));
    assert!(panics(|| sleep.poll()));
}

#[test]
fn a_future_that_wakes_itself_does_not_wait() {
    let busy = || {
        Polled::new(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }))
    };
    assert!(panics(|| busy().assert_waiting()));
    let mut busy = busy();
    busy.assert_pending();
    assert!(busy.is_woken());
}

#[test]
fn assertions_fail_where_they_should() {
    assert!(panics(|| Polled::new(ready(1)).assert_pending()));
    assert!(panics(|| Polled::new(ready(1)).assert_waiting()));
    assert!(panics(|| Polled::new(pending::<()>()).assert_ready()));
    assert_eq!(Polled::new(ready(1)).assert_ready(), 1);
}

#[test]
fn a_wake_counts_until_the_next_poll() {
    let mut first = true;
    let mut polled = Polled::new(poll_fn(move |cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    }));
    polled.assert_pending();
    assert!(polled.is_woken());
    polled.assert_waiting();
    assert_eq!((polled.polls(), polled.wakes()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_awaited_at_last() {
    let mut polled = Polled::new(async {
        sleep(secs(1)).await;
        7
    });
    polled.assert_waiting();
    assert_eq!(polled.await, 7);
}
