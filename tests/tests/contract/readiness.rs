//! A service that is never ready, or fails to become so.

use tower::Service;
use tower_keep::{CancelReason, EventKind, FailureCause};
use tower_keep_test::{Polled, Readiness, Scripted, Step, secs};

use crate::{
    reasons::{Why, stopped},
    run::{call, echo, over, ready},
    stack::Stack,
    stacks::{all, that, watched},
};

/// Around a service that is never ready, the stack is not ready either, and does not poll in
/// circles. With Dedup, and with a retry whose hook takes its time, it is the call that waits.
/// Dropped, it leaves nothing behind.
#[test]
fn a_service_that_is_never_ready_is_waited_for() {
    let stops = |stack: &Stack| !stack.outside("c", "DMEWH");
    over(that(all(), stops), async |stack| {
        let inner = echo().never_ready();
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        if stack.has("DMEWH") {
            ready(&mut service).await.unwrap();
            let mut response = Polled::new(service.call(1));
            response.assert_waiting();
            assert_eq!(stack.dedup.in_flight(), usize::from(stack.has("DMEW")));
            tokio::time::advance(secs(9)).await;
            assert!(!response.is_woken(), "it is polled though nothing happened");
            drop(response);
        } else {
            let mut readying = Polled::new(ready(&mut service));
            readying.assert_waiting();
            tokio::time::advance(secs(3600)).await;
            assert!(!readying.is_woken(), "it is polled though nothing happened");
            readying.assert_waiting();
        }
        assert_eq!((calls.count(), calls.in_flight()), (0, 0));
        assert!(calls.polls() <= 2, "{calls:?}");
        drop(service);
        stack.assert_idle();
    });
}

/// A call that is dropped while it waits for the service to become ready ends its job as cancelled,
/// which never started.
#[test]
fn a_drop_while_waiting_for_readiness_ends_the_job() {
    let waits = |stack: &Stack| stack.has("DMEWH") && !stack.has("c");
    over(that(watched(), waits), async |stack| {
        let mut service = stack.around(echo().never_ready().strict());
        ready(&mut service).await.unwrap();
        let mut response = Polled::new(service.call(1));
        response.assert_waiting();
        drop(response);
        stack.assert_idle();
        let recorder = &stack.recorder;
        if stack.outside("L", "DMEWH") {
            stack.assert_jobs(1);
            recorder.assert_names(["dispatched", "cancelled"]);
            let cancelled = EventKind::Cancelled {
                reason: CancelReason::CallerGone,
                dropped: true,
            };
            assert_eq!(recorder.terminal(recorder.job()), Some(cancelled));
        } else {
            stack.assert_jobs(0);
        }
    });
}

/// The service fails to become ready: that is an error of readiness or of the call, and nothing is
/// held.
#[test]
fn a_readiness_error_comes_out() {
    over(watched(), async |stack| {
        let inner = echo().readiness_otherwise(|| Readiness::error("not ready"));
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        let error = call(&mut service, 1).await.unwrap_err();
        assert_eq!(error.to_string(), "not ready");
        assert_eq!(calls.count(), 0);
        drop(service);
        stack.assert_idle();
        if stack.outside("L", "DMEWH") {
            stack.assert_jobs(1);
            let job = stack.recorder.job();
            assert!(
                matches!(
                    stack.recorder.terminal(job),
                    Some(EventKind::Failed {
                        cause: FailureCause::Error,
                        ..
                    })
                ),
                "{}",
                stack.recorder
            );
        } else {
            stack.assert_jobs(0);
        }
    });
}

/// After a readiness error of one clone, another clone that becomes ready works.
#[test]
fn another_clone_may_still_become_ready() {
    let once = |stack: &Stack| !stack.has("H") && !stack.outside("Rh", "DMEW");
    over(that(all(), once), async |stack| {
        let inner = echo().readiness(Readiness::error("not ready"));
        let service = stack.around(inner.strict());
        let (mut first, mut second) = (service.clone(), service.clone());
        assert!(call(&mut first, 1).await.is_err());
        assert_eq!(call(&mut second, 1).await.unwrap(), 2);
        drop((first, second, service));
        stack.assert_idle();
    });
}

/// A retry whose service fails to become ready tries again, and comes out with that error in the
/// end.
#[test]
fn a_readiness_error_of_a_later_attempt_comes_out() {
    let plain = |stack: &Stack| stack.has("RHh") && !stack.outside("RHh", "DMEW");
    over(that(watched(), plain), async |stack| {
        // With Dedup outside, the first readiness is that of its own clone.
        let inner = Scripted::script([Step::error("first")])
            .readiness(Readiness::ok())
            .readiness_otherwise(|| Readiness::error("not ready"));
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        let error = call(&mut service, 1).await.unwrap_err();
        assert_eq!(error.to_string(), "not ready");
        calls.assert_finished();
        drop(service);
        stack.assert_idle();
        stack.assert_jobs(1);
    });
}

/// An open circuit rejects at once, and neither asks nor calls the service.
#[test]
fn an_open_circuit_asks_nobody() {
    over(that(all(), |stack| stack.has("B")), async |stack| {
        let inner = echo().never_ready();
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        stack.breaker.handle().force_open();
        let mut response = Polled::new(call(&mut service, 1));
        let result = loop {
            match response.poll() {
                std::task::Poll::Ready(result) => break result,
                std::task::Poll::Pending => {
                    assert!(stack.has("c"), "it waits");
                    tokio::task::yield_now().await;
                }
            }
        };
        assert_eq!(stopped(&result), Some(Why::Open), "{result:?}");
        assert_eq!((calls.polls(), calls.count()), (0, 0));
        drop(response);
        stack.assert_idle();
    });
}

/// A shutdown ends the wait for readiness, and the call is then turned away without the service.
#[test]
fn a_shutdown_ends_the_wait_for_readiness() {
    let waits = |stack: &Stack| stack.has("Cc") && !stack.has("DMEWH");
    over(that(all(), waits), async |stack| {
        let inner = echo().never_ready();
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        let mut response = Polled::new(call(&mut service, 1));
        response.assert_waiting();
        stack.cancel.handle().shutdown_now();
        response.assert_woken();
        assert_eq!(stopped(&response.assert_ready()), Some(Why::Cancelled));
        assert_eq!(calls.count(), 0);
        drop(response);
        stack.assert_idle();
    });
}
