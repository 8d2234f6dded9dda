//! What the inner service lends for a call (here the one permit of a `ConcurrencyLimit`) is held no
//! longer than needed.

use std::sync::Arc;

use tokio::{sync::Semaphore, time::Instant};
use tower::limit::ConcurrencyLimit;
use tower_keep_test::{Polled, Scripted, ms, secs};

use crate::{
    run::{call, call_of, echo, over, ready, settle, slow_echo, spawn_call},
    stack::{Inner, Stack},
    stacks::{all, that},
};

/// One call at a time, and the permits to look at.
pub(crate) fn one_at_a_time(inner: Scripted<u32, u32>) -> (impl Inner, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(inner.strict(), Arc::clone(&permits));
    (limited, permits)
}

/// Calls one after another get the permit in turn.
#[test]
fn sequential_calls_share_a_permit() {
    over(all(), async |stack| {
        let (inner, permits) = one_at_a_time(echo());
        let mut service = stack.around(inner);
        for request in 1..=3 {
            assert_eq!(call(&mut service, request).await.unwrap(), request + 1);
            assert_eq!(permits.available_permits(), 1);
        }
        stack.assert_idle();
    });
}

/// Of two calls at once, the second waits for the first and then runs.
#[test]
fn concurrent_calls_wait_for_the_permit() {
    over(all(), async |stack| {
        let inner = slow_echo(1);
        let calls = inner.calls();
        let (inner, permits) = one_at_a_time(inner);
        let mut service = stack.around(inner);
        let mut clone = service.clone();
        let began = Instant::now();
        let (first, second) = tokio::join!(call(&mut service, 1), call(&mut clone, 2));
        assert_eq!((first.unwrap(), second.unwrap()), (2, 3));
        assert_eq!(began.elapsed(), secs(2));
        assert_eq!(calls.peak(), 1);
        assert_eq!(permits.available_permits(), 1);
        stack.assert_idle();
    });
}

/// While a call waits for its next attempt, the permit is free and another call gets through at
/// once.
#[test]
fn a_retry_holds_no_permit_while_it_waits() {
    over(that(all(), |stack| stack.has("RHh")), async |stack| {
        let inner = Scripted::script([Err("first"), Ok(20), Ok(10)]);
        let calls = inner.calls();
        let (inner, permits) = one_at_a_time(inner);
        let mut service = stack.around(inner);
        let waiting = spawn_call(&service, 1);
        tokio::time::sleep(ms(500)).await;
        assert_eq!((calls.completed(), permits.available_permits()), (1, 1));

        let before = Instant::now();
        assert_eq!(call(&mut service, 2).await.unwrap(), 20);
        assert_eq!(before.elapsed(), secs(0));

        assert_eq!(waiting.await.unwrap().unwrap(), 10);
        assert_eq!(calls.gaps(), [ms(500), ms(500)]);
        assert_eq!(permits.available_permits(), 1);
    });
}

/// A permit that was got and not used is back when the service is dropped, and a future that was
/// never polled gives back its own.
#[test]
fn unused_readiness_is_given_back() {
    over(all(), async |stack| {
        let (inner, permits) = one_at_a_time(echo());
        let service = stack.around(inner);

        let mut unused = service.clone();
        ready(&mut unused).await.unwrap();
        drop(unused);
        assert_eq!(permits.available_permits(), 1);

        let mut never_polled = service.clone();
        ready(&mut never_polled).await.unwrap();
        let response = tower::Service::call(&mut never_polled, 1);
        drop(response);
        // A detached call runs on.
        settle().await;
        assert_eq!(permits.available_permits(), 1);

        let mut service = service;
        assert_eq!(call(&mut service, 2).await.unwrap(), 3);
        stack.assert_idle();
    });
}

/// The permit is back wherever the call is dropped: while it runs, while it waits for a retry,
/// while it waits for the permit itself.
#[test]
fn the_permit_is_back_after_a_drop() {
    let stops = |stack: &Stack| !stack.has("c");
    over(that(all(), stops), async |stack| {
        let inner = slow_echo(5);
        let (inner, permits) = one_at_a_time(inner);
        let service = stack.around(inner);
        let mut running = Polled::new(call_of(&service, 1));
        running.assert_waiting();
        assert_eq!(permits.available_permits(), 0);
        let mut waiting = Polled::new(call_of(&service, 2));
        waiting.assert_waiting();
        drop(waiting);
        assert_eq!(permits.available_permits(), 0);
        drop(running);
        assert_eq!(permits.available_permits(), 1);
        stack.assert_idle();
    });
}

/// As the permit is handed from a call that is dropped to the call that waits for it, none is lost.
#[test]
fn a_waiting_call_gets_the_permit_of_a_dropped_call() {
    let stops = |stack: &Stack| !stack.has("c");
    over(that(all(), stops), async |stack| {
        let (inner, permits) = one_at_a_time(slow_echo(5));
        let service = stack.around(inner);
        let mut running = Polled::new(call_of(&service, 1));
        running.assert_waiting();
        let mut waiting = Polled::new(call_of(&service, 2));
        waiting.assert_waiting();

        drop(running);
        waiting.assert_woken();
        assert_eq!(waiting.await.unwrap(), 3);
        assert_eq!(permits.available_permits(), 1);
        stack.assert_idle();
    });
}
