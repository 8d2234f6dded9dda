//! Callers that leave, at every point at which a call can wait.

use tokio::task::yield_now;
use tower::Service;
use tower_keep::{CancelReason, EventKind, circuit_breaker::State};
use tower_keep_test::{Polled, Readiness, Scripted, Step, ms, secs};

use crate::{
    permits::one_at_a_time,
    run::{assert_no_job, call_of, over, ready, settle, slow_echo},
    stack::{QUIET, Stack},
    stacks::{everything, that, watched},
};

/// How often the service awaits before it answers.
const AWAITS: usize = 3;

fn awaiting() -> Scripted<u32, u32> {
    Scripted::new().otherwise(|| {
        Step::run(|request: u32| async move {
            for _ in 0..AWAITS {
                yield_now().await;
            }
            Ok(request + 1)
        })
    })
}

fn stops(stack: &Stack) -> bool {
    !stack.has("c")
}

/// Asserts that the caller's leaving ended this many jobs, counted for no failure, and that nothing
/// comes after it.
async fn assert_left(stack: &Stack, jobs: usize) {
    assert_no_job();
    stack.assert_idle();
    let circuit = stack.breaker.handle();
    assert_eq!(
        (circuit.state(), circuit.snapshot().failures_in_a_row),
        (State::Closed, 0)
    );
    stack.assert_jobs(jobs);
    for job in stack.recorder.jobs() {
        let cancelled = EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            dropped: true,
        };
        assert_eq!(stack.recorder.terminal(job), Some(cancelled));
    }
    let events = stack.recorder.names();
    tokio::time::advance(secs(3600)).await;
    settle().await;
    assert_eq!(stack.recorder.names(), events, "events after the end");
}

/// Dropped before its first poll, and after each number of polls until it would answer, a call
/// leaves nothing behind, and its job ends as cancelled because the caller has gone.
#[test]
fn a_call_may_be_dropped_at_every_await() {
    over(that(everything(), stops), async |stack| {
        for polls in 0..=AWAITS {
            let stack = stack.fresh();
            let script = awaiting();
            let calls = script.calls();
            let (inner, permits) = one_at_a_time(script);
            let mut service = stack.around(inner);
            ready(&mut service).await.unwrap();
            let mut response = Polled::new(service.call(1));
            for _ in 0..polls {
                response.assert_pending();
                assert_no_job();
            }
            drop(response);
            assert_eq!(calls.in_flight(), 0, "after {polls} polls");
            assert_eq!(permits.available_permits(), 1, "after {polls} polls");
            // Outside the log, Dedup calls it in its future.
            let begun = polls > 0 || !stack.outside("DMEWH", "L");
            assert_left(&stack, usize::from(begun)).await;
        }
        // The count of awaits is right: one poll more and it answers.
        let mut service = stack.around(awaiting().strict());
        ready(&mut service).await.unwrap();
        let mut response = Polled::new(service.call(1));
        (0..AWAITS).for_each(|_| response.assert_pending());
        assert_eq!(response.assert_ready().unwrap(), 2);
    });
}

/// Dropped while it waits for its next attempt, or for the service to become ready for it.
#[test]
fn a_call_may_be_dropped_between_attempts() {
    let retries = |stack: &Stack| stack.has("RHh") && stops(stack);
    over(that(watched(), retries), async |stack| {
        for waited in [ms(0), ms(999), ms(1000)] {
            let stack = stack.fresh();
            let inner = Scripted::new()
                .error("first")
                .readiness(Readiness::ok())
                .never_ready();
            let calls = inner.calls();
            let mut service = stack.around(inner.strict());
            ready(&mut service).await.unwrap();
            let mut response = Polled::new(service.call(1));
            response.assert_waiting();
            tokio::time::advance(waited).await;
            response.assert_waiting();
            assert_eq!((calls.count(), calls.in_flight()), (1, 0));
            drop(response);
            assert_no_job();
            stack.assert_idle();
            // Where the execution of each attempt has a job of its own, the wait has none.
            let apart = stack.outside("RHh", "M") && stack.executes_apart();
            let retried = waited == ms(1000) && !apart;
            assert_eq!(stack.recorder.count("retrying"), usize::from(retried));
            // A circuit inside the retry counted the first attempt, so its count is none of this
            // test's.
            stack.assert_jobs(1);
            let events = stack.recorder.names();
            let ended = if apart { "failed" } else { "cancelled" };
            assert_eq!(events.last(), Some(&ended));
            tokio::time::advance(secs(3600)).await;
            settle().await;
            assert_eq!(stack.recorder.names(), events, "events after the end");
        }
    });
}

/// Of the callers of one execution any may leave, the first one too, and the rest get the answer;
/// each that left has a job that ended as cancelled.
#[test]
fn any_caller_of_a_joined_execution_may_leave() {
    let joins = |stack: &Stack| stack.has("M") && stops(stack);
    over(that(watched(), joins), async |stack| {
        for leaver in 0..3 {
            let stack = stack.fresh();
            let inner = slow_echo(5);
            let calls = inner.calls();
            let service = stack.around(inner.strict());
            let mut callers: Vec<_> = (0..3).map(|_| Polled::new(call_of(&service, 1))).collect();
            callers.iter_mut().for_each(Polled::assert_waiting);
            drop(callers.remove(leaver));
            assert_no_job();
            assert_eq!((stack.dedup.in_flight(), calls.in_flight()), (1, 1));
            for caller in callers {
                assert_eq!(caller.await.unwrap(), 2);
            }
            assert_eq!(calls.count(), 1);
            stack.assert_idle();
            let recorder = &stack.recorder;
            stack.assert_jobs(if stack.joins_unseen() { 1 } else { 3 });
            for (index, job) in recorder.jobs().into_iter().enumerate() {
                // The execution runs in the first caller's job, or in one of its own that nobody
                // leaves.
                let left = index == leaver && !stack.executes_apart();
                let expected = if left {
                    EventKind::Cancelled {
                        reason: CancelReason::CallerGone,
                        dropped: true,
                    }
                } else {
                    EventKind::Succeeded
                };
                assert_eq!(recorder.terminal(job), Some(expected), "{recorder}");
            }
        }
    });
}

/// When the last caller leaves, in whatever order, the execution stops; also while the service is
/// not ready yet.
#[test]
fn an_execution_that_all_have_left_stops() {
    let joins = |stack: &Stack| stack.has("M") && stops(stack);
    over(that(watched(), joins), async |stack| {
        for first in 0..2 {
            for never_ready in [false, true] {
                let stack = stack.fresh();
                let inner = if never_ready {
                    slow_echo(5).never_ready()
                } else {
                    slow_echo(5)
                };
                let calls = inner.calls();
                let service = stack.around(inner.strict());
                let mut callers: Vec<_> =
                    (0..2).map(|_| Polled::new(call_of(&service, 1))).collect();
                callers.iter_mut().for_each(Polled::assert_waiting);
                drop(callers.remove(first));
                assert_eq!(stack.dedup.in_flight(), 1);
                drop(callers);
                assert_eq!((calls.in_flight(), calls.completed()), (0, 0));
                let jobs = if stack.joins_unseen() {
                    // The hook's retry is always ready, and so is the log around it.
                    usize::from(!never_ready || stack.outside("L", "H"))
                } else {
                    2
                };
                assert_left(&stack, jobs).await;
            }
        }
    });
}

/// A call may be dropped while it waits for quiet, and while it waits for the running call, which
/// knows nothing of it.
#[test]
fn a_call_may_be_dropped_while_it_waits_for_its_place() {
    let words = [
        "W*",
        "LW*",
        "W*L",
        "LPCW*BTRA",
        "ARTBW*CPL",
        "W*BTRALPC",
        "LPCW*LB",
    ];
    over(words.map(str::to_owned).to_vec(), async |stack| {
        for waited in [ms(0), ms(999)] {
            let stack = stack.fresh();
            let inner = slow_echo(5);
            let calls = inner.calls();
            let service = stack.around(inner.strict());
            let mut waiting = Polled::new(call_of(&service, 1));
            waiting.assert_waiting();
            tokio::time::advance(waited).await;
            assert_eq!((calls.polls(), stack.dedup.in_flight()), (0, 1));
            drop(waiting);
            assert_left(&stack, usize::from(stack.outside("L", "W"))).await;
        }
        let inner = slow_echo(5);
        let calls = inner.calls();
        let service = stack.around(inner.strict());
        let mut running = Polled::new(call_of(&service, 1));
        running.assert_waiting();
        tokio::time::advance(QUIET).await;
        running.assert_waiting();
        let mut waiting = Polled::new(call_of(&service, 1));
        waiting.assert_waiting();
        tokio::time::advance(QUIET).await;
        waiting.assert_woken();
        waiting.assert_waiting();
        drop(waiting);
        assert_eq!((calls.in_flight(), stack.dedup.in_flight()), (1, 1));
        assert_eq!(running.await.unwrap(), 2);
        assert_eq!(calls.count(), 1);
        stack.assert_idle();
    });
}

/// A detached call runs to its end when its caller leaves, before its first poll too, and its job
/// ends with it.
#[test]
fn a_detached_call_survives_its_caller() {
    over(that(watched(), |stack| stack.has("c")), async |stack| {
        for polls in 0..=2 {
            let stack = stack.fresh();
            let inner = slow_echo(5);
            let calls = inner.calls();
            let mut service = stack.around(inner.strict());
            ready(&mut service).await.unwrap();
            let mut response = Polled::new(service.call(1));
            (0..polls).for_each(|_| response.assert_waiting());
            drop(response);
            assert_no_job();
            assert_eq!(stack.cancel.handle().jobs().len(), 1);
            calls.until(|calls| calls.completed() == 1).await;
            settle().await;
            stack.assert_idle();
            stack.assert_jobs(1);
            let mut names = stack.recorder.names();
            // Where there is a Retry layer.
            names.retain(|name| *name != "attempt_ended");
            assert_eq!(names, ["dispatched", "started", "succeeded"]);
        }
    });
}
