//! `debounce`: a call is set aside as it waits for quiet, as it waits for another one, and at each
//! point of its work.

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, LogLayer, Pipeline, RetryLayer, TimeoutLayer,
    dedup::Duplicate, find, timeout::Elapsed,
};
use tower_keep_test::Polled;
use tower_keep_tests::*;

use super::set_aside_stages::*;

const QUIET: u64 = 50;

/// A call that another one has replaced, as it was polled again.
#[track_caller]
fn was_replaced(result: Result<u32, BoxError>) {
    let error = result.unwrap_err();
    if find::<Duplicate>(&*error).is_some() {
        replaced(&error);
    } else {
        assert_eq!(reason(&error), CancelReason::Replaced);
    }
}

/// R64 A call that waits for quiet is replaced at once, though it is set aside, and though its
/// quiet is over: the next one waits for its own quiet and runs. A running call is waited for until
/// it is dropped or polled to its end.
#[tokio::test(start_paused = true)]
async fn debounce_waits_for_the_running_call() {
    for (name, stack) in stacks!(DedupLayer::new(one_key).debounce(ms(QUIET))) {
        for plan in plans() {
            at_each_point(async |at| {
                for is_dropped in [true, false] {
                    let inner = Staged::new(&plan);
                    let (seen, limit) = (inner.seen(), at_most(&inner));
                    let mut service = stack(inner);
                    let began = Instant::now();
                    let mut holder = Polled::new(begin(&mut service, 0).await);
                    if set_aside(&mut holder, at).await.is_some() {
                        return false;
                    }
                    // Its first poll waits for quiet, the second begins.
                    let runs = at.polls > 1;
                    assert!(!runs || began.elapsed() >= ms(QUIET));
                    let mut next = Polled::new(begin(&mut service, 1).await);
                    if !runs {
                        let (result, took) = awaited(next).await;
                        assert_eq!(seen.begun(), result.unwrap(), "{name} {at:?}");
                        assert!(took <= limit + ms(QUIET), "{name} {at:?}: {took:?}");
                        was_replaced(holder.assert_ready());
                        continue;
                    }
                    let begun = seen.begun();
                    assert!(next.poll().is_pending());
                    for _ in 0..5 {
                        tokio::time::sleep(secs(1)).await;
                        // However often it is polled.
                        assert!(next.poll().is_pending(), "{name} {at:?}");
                    }
                    assert_eq!(seen.begun(), begun, "{name} {at:?}");
                    if is_dropped {
                        drop(holder);
                    } else {
                        assert!(awaited(holder).await.0.is_ok(), "{name} {at:?}");
                    }
                    // The end of the running call wakes it.
                    let (result, took) = awaited(by_wakes(next)).await;
                    assert!(result.unwrap() > begun, "{name} {at:?}");
                    assert!(took <= limit + ms(20), "{name} {at:?}: {took:?}");
                }
                true
            })
            .await;
        }
    }
}

/// R64 A call waits for the running call, and both are set aside. A third replaces the waiting
/// call, and has its turn when the running call is dropped.
#[tokio::test(start_paused = true)]
async fn debounce_never_waits_for_the_waiting_call() {
    for (name, stack) in stacks!(DedupLayer::new(one_key).debounce(ms(QUIET))) {
        for plan in plans() {
            at_each_point(async |at| {
                let mut service = stack(Staged::new(&plan));
                let mut holder = Polled::new(begin(&mut service, 0).await);
                let runs = Aside {
                    polls: at.polls + 2,
                    ..at
                };
                if set_aside(&mut holder, runs).await.is_some() {
                    return false;
                }
                let mut waits = Polled::new(begin(&mut service, 1).await);
                let polls = at.polls.min(2);
                let at = Aside {
                    polls,
                    // Due, and waiting for nothing but the running call.
                    woken: polls == 1,
                };
                assert!(set_aside(&mut waits, at).await.is_none(), "{name}");
                let mut third = Polled::new(begin(&mut service, 2).await);
                was_replaced(waits.assert_ready());
                assert!(third.poll().is_pending());
                woken(&third).await;
                assert!(third.poll().is_pending(), "{name} {at:?}");
                drop(holder);
                third.assert_woken();
                assert!(awaited(by_wakes(third)).await.0.is_ok(), "{name} {at:?}");
                true
            })
            .await;
        }
    }
}

/// R64 A call whose turn came is woken and never polled again: the next one takes its place and
/// waits for no more than quiet.
#[tokio::test(start_paused = true)]
async fn debounce_passes_over_one_whose_turn_came() {
    for (name, stack) in stacks!(DedupLayer::new(one_key).debounce(ms(QUIET))) {
        let inner = Staged::new(&plan(1));
        let limit = at_most(&inner) + ms(QUIET);
        let mut service = stack(inner);
        let mut holder = Polled::new(begin(&mut service, 0).await);
        let runs = Aside {
            polls: 3,
            woken: false,
        };
        assert!(set_aside(&mut holder, runs).await.is_none());
        let mut due = Polled::new(begin(&mut service, 1).await);
        assert!(due.poll().is_pending());
        woken(&due).await;
        assert!(due.poll().is_pending(), "{name}: one still runs");
        drop(holder);
        due.assert_woken();
        let (result, took) = awaited(begin(&mut service, 2).await).await;
        assert!(result.is_ok() && took <= limit, "{name}: {took:?}");
        was_replaced(due.assert_ready());
    }
}

/// R64 A limit around the running call lets the next go on when the late call is polled, and not
/// before.
#[tokio::test(start_paused = true)]
async fn a_limit_ends_a_wait_when_its_call_is_polled() {
    for mut plan in plans() {
        plan.push(Point::Time(1_000_000));
        at_each_point(async |at| {
            let layers = ServiceBuilder::new()
                .layer(TimeoutLayer::none().limit_by(|limit: &u32| Some(secs((*limit).into()))))
                .layer(DedupLayer::new(one_key).debounce(ms(QUIET)));
            let inner = Staged::new(&plan);
            let seen = inner.seen();
            let mut service = Stack::new(layers.service(inner));
            let mut holder = Polled::new(begin(&mut service, 5).await);
            let runs = Aside {
                polls: at.polls + 3,
                ..at
            };
            if set_aside(&mut holder, runs).await.is_some() {
                return false;
            }
            let mut next = Polled::new(begin(&mut service, 9999).await);
            assert!(waits(&mut next).await, "{at:?}");
            let (late, _) = awaited(holder).await;
            assert!(find::<Elapsed>(&*late.unwrap_err()).is_some(), "{at:?}");
            next.assert_woken();
            assert!(next.poll().is_pending());
            assert_eq!(seen.dropped(), seen.begun(), "{at:?}");
            woken(&next).await;
            true
        })
        .await;
    }
}
