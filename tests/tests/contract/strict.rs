//! Only a service that was made ready is called.

use futures::future::join_all;
use tower::Service;
use tower_keep_test::{Polled, Readiness, Scripted, ms, secs};

use crate::{
    reasons::{Why, stopped},
    run::{call, echo, over, ready},
    stacks::{all, that},
};

/// Each call reaches an instance that was polled ready: repeatedly, on a clone, on the original
/// after the clone, and where the original was ready before it was cloned. A clone inherits no
/// readiness.
#[test]
fn the_instance_that_is_called_was_made_ready() {
    over(all(), async |stack| {
        let inner = echo().strict();
        let probe = inner.probe();
        let mut service = stack.around(inner);
        for request in 1..=3 {
            assert_eq!(call(&mut service, request).await.unwrap(), request + 1);
        }
        let mut clone = service.clone();
        assert_eq!(call(&mut clone, 4).await.unwrap(), 5);
        assert_eq!(call(&mut service, 5).await.unwrap(), 6);

        ready(&mut service).await.unwrap();
        let mut clone = service.clone();
        assert_eq!(call(&mut clone, 6).await.unwrap(), 7);
        assert_eq!(service.call(7).await.unwrap(), 8);
        assert_eq!(probe.calls(), 7);
    });
}

/// Asked again, a ready service stays ready, and that makes for one call, not for several.
#[test]
fn readiness_can_be_asked_for_again() {
    over(all(), async |stack| {
        let inner = echo().strict();
        let probe = inner.probe();
        let mut service = stack.around(inner);
        for _ in 0..3 {
            let mut asked = Polled::new(ready(&mut service));
            asked.assert_ready().unwrap();
        }
        assert_eq!(service.call(1).await.unwrap(), 2);
        assert_eq!(call(&mut service, 2).await.unwrap(), 3);
        assert_eq!(probe.calls(), 2);
    });
}

/// A service that takes its time to become ready is waited for, before each call.
#[test]
fn a_service_that_becomes_ready_later_is_waited_for() {
    over(all(), async |stack| {
        let inner = echo().readiness_otherwise(|| Readiness::ok().after(ms(5)));
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        let mut clone = service.clone();
        let (first, second) = tokio::join!(call(&mut service, 1), call(&mut clone, 2));
        assert_eq!((first.unwrap(), second.unwrap()), (2, 3));
        assert_eq!(call(&mut service, 3).await.unwrap(), 4);
        assert_eq!(calls.completed(), 3);
        assert!(calls.started_at().iter().all(|at| *at >= ms(5)));
    });
}

/// Calls that overlap, made by one instance, all reach a ready service.
#[test]
fn calls_of_one_instance_may_overlap() {
    over(all(), async |stack| {
        let inner = crate::run::slow_echo(1);
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        let mut responses = Vec::new();
        for request in 0..4 {
            ready(&mut service).await.unwrap();
            responses.push(service.call(request));
        }
        let answers: Vec<u32> = join_all(responses)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(answers, [1, 2, 3, 4]);
        assert_eq!(calls.peak(), 4);
    });
}

/// Every attempt goes to an instance that was made ready for it.
#[test]
fn every_attempt_goes_to_a_ready_instance() {
    over(that(all(), |stack| stack.has("RHh")), async |stack| {
        let inner = Scripted::script([Err("first"), Err("second"), Ok(3)]);
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        assert_eq!(call(&mut service, 1).await.unwrap(), 3);
        assert_eq!(calls.gaps(), [secs(1), secs(2)]);
        calls.assert_finished();
    });
}

/// A circuit that opens or closes between readiness and the call never lets a call through to a
/// service that was not asked, and makes use of no readiness twice.
#[test]
fn a_circuit_may_change_between_readiness_and_the_call() {
    over(that(all(), |stack| stack.has("B")), async |stack| {
        let inner = echo().strict();
        let probe = inner.probe();
        let mut service = stack.around(inner);
        let circuit = stack.breaker.handle();

        ready(&mut service).await.unwrap();
        circuit.force_open();
        assert_eq!(stopped(&service.call(1).await), Some(Why::Open));
        assert_eq!(probe.calls(), 0);

        ready(&mut service).await.unwrap();
        circuit.reset();
        let result = service.call(2).await;
        // A layer outside that asks for readiness in its future finds the circuit closed.
        let expected = (!stack.outside("DMEWH", "B")).then_some(Why::Open);
        assert_eq!(stopped(&result), expected, "{result:?}");

        assert_eq!(call(&mut service, 3).await.unwrap(), 4);
    });
}
