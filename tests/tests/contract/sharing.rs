//! One layer put around many services, as a router does for each route or request: what it shares
//! is shared by all.

use tower_keep::{CancelReason, circuit_breaker::State};
use tower_keep_test::{Polled, Scripted};

use crate::{
    reasons::{Why, stopped},
    run::{call, call_of, over, settle, silent, slow_echo},
    stacks::{all, that},
};

/// Failures of calls that each go through a service of their own open one circuit.
#[test]
fn the_circuit_is_one() {
    over(that(all(), |stack| stack.has("B")), async |mut stack| {
        stack.retry = stack.retry.max_retries(0);
        let inner = Scripted::<u32, u32>::script([Err("down")]).repeat_last();
        let calls = inner.calls();
        let circuit = stack.breaker.handle();
        for request in 1..=6 {
            assert_eq!(circuit.state(), State::Closed, "call {request}");
            let mut service = stack.around(inner.clone().strict());
            assert!(call(&mut service, request).await.is_err());
        }
        assert_eq!(circuit.state(), State::Open);
        let result = call(&mut stack.around(inner.strict()), 7).await;
        assert_eq!(stopped(&result), Some(Why::Open));
        assert_eq!(calls.count(), 6);
    });
}

/// A key that is in flight through one service is known to the others.
#[test]
fn the_keys_are_known_to_all() {
    over(that(all(), |stack| stack.has("DMEW")), async |stack| {
        let inner = slow_echo(5);
        let calls = inner.calls();
        let first = stack.around(inner.clone().strict());
        let mut first = Polled::new(call_of(&first, 1));
        first.assert_waiting();
        settle().await;
        assert_eq!(stack.dedup.in_flight(), 1);

        let mut second = stack.around(inner.clone().strict());
        if stack.has("D") {
            let result = call(&mut second, 1).await;
            assert_eq!(stopped(&result), Some(Why::Duplicate), "{result:?}");
            assert_eq!(first.await.unwrap(), 2);
        } else {
            let (first, second) = tokio::join!(first, call(&mut second, 1));
            assert_eq!(stopped(&first).is_some(), stack.has("E"), "{first:?}");
            assert_eq!(second.unwrap(), 2);
        }
        let executions = if stack.has("EW") { 2 } else { 1 };
        assert_eq!(calls.count(), executions);
        // The work of a replaced call may end a little after the newer one has begun.
        assert!(calls.peak() == 1 || stack.has("E"));
        let mut third = stack.around(inner.strict());
        assert_eq!(call(&mut third, 1).await.unwrap(), 2);
        stack.assert_idle();
    });
}

/// The handles see the jobs of all services, and only while they run.
#[test]
fn the_handles_see_all_jobs() {
    over(that(all(), |stack| stack.has("CcP")), async |stack| {
        let (cancel, progress) = (stack.cancel.handle(), stack.progress.handle());
        let mut callers = Vec::new();
        for request in 1..=3 {
            let service = stack.around(silent().strict());
            let mut caller = Polled::new(async move { call_of(&service, request).await });
            caller.assert_waiting();
            settle().await;
            if stack.has("Cc") {
                assert_eq!(cancel.jobs().len(), request as usize);
            }
            if stack.has("P") {
                assert_eq!(progress.jobs().len(), request as usize);
            }
            callers.push(caller);
        }
        if stack.has("Cc") {
            assert_eq!(cancel.cancel_all(CancelReason::Requested), 3);
            for caller in callers {
                assert_eq!(stopped(&caller.await), Some(Why::Cancelled));
            }
        } else {
            drop(callers);
        }
        stack.assert_idle();
    });
}

/// A shutdown turns away the calls of services that are made after it.
#[test]
fn a_shutdown_is_known_to_all() {
    over(that(all(), |stack| stack.has("Cc")), async |stack| {
        stack.cancel.handle().shutdown_now();
        let inner = silent();
        let calls = inner.calls();
        let result = call(&mut stack.around(inner.strict()), 1).await;
        assert_eq!(stopped(&result), Some(Why::Cancelled), "{result:?}");
        assert_eq!(calls.count(), 0);
        stack.assert_idle();
    });
}
