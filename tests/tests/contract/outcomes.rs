//! However a call ends, its job begins once and ends once, and it is one job whatever layers watch
//! it.

use std::sync::{Arc, Mutex};

use tower_keep::{BoxError, CancelReason, EventKind, FailureCause, Job, JobId};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::running_ids;

use crate::{
    reasons::{Why, stopped},
    run::{call, call_of, echo, over, settle, silent, slow_echo, spawn_call},
    stack::Stack,
    stacks::{everything, that},
};

/// What an attempt sees of its job: the id, and its own number.
type Seen = (Option<JobId>, u32);

/// Where a foreign retry calls again, the layers that track no job still stop the call, and the job
/// ends once, as failed; that it was they who stopped it is not known to the job, as its page says.
#[test]
fn a_foreign_retry_leaves_the_job_one_ending() {
    let words = ["LrT", "LrA", "LrB", "LrTB"].map(str::to_owned);
    over(words.to_vec(), async |stack| {
        if stack.has("B") {
            stack.breaker.handle().force_open();
        }
        let result = call(&mut stack.around(silent().strict()), 1).await;
        let why = if stack.has("B") {
            Why::Open
        } else {
            Why::TimedOut
        };
        assert_eq!(stopped(&result), Some(why));
        stack.assert_jobs(1);
        assert_all_ended(&stack, |kind| failed(kind, FailureCause::Error));
    });
}

/// How many jobs a call makes that needs several attempts: one, unless each of them is an execution
/// with a job of its own.
fn jobs_of_attempts(stack: &Stack, attempts: usize) -> usize {
    if stack.outside("RHh", "M") && stack.executes_apart() {
        attempts
    } else {
        1
    }
}

/// Stacks with one of these layers, and no foreign retry outside it.
fn in_sight(letters: &'static str) -> impl Fn(&Stack) -> bool {
    move |stack| stack.has(letters) && !stack.outside("r", letters)
}

#[track_caller]
fn assert_all_ended(stack: &Stack, holds: impl Fn(&EventKind) -> bool) {
    for job in stack.recorder.jobs() {
        let ended = stack.recorder.terminal(job);
        assert!(ended.is_some_and(|kind| holds(&kind)), "{}", stack.recorder);
    }
}

fn failed(kind: &EventKind, expected: FailureCause) -> bool {
    matches!(kind, EventKind::Failed { cause, .. } if *cause == expected)
}

/// An answer: the job succeeds.
#[test]
fn an_answer_ends_the_job_once() {
    over(everything(), async |stack| {
        let mut service = stack.around(echo().strict());
        for jobs in 1..=3 {
            assert_eq!(call(&mut service, 1).await.unwrap(), 2);
            stack.assert_idle();
            stack.assert_jobs(jobs);
        }
        for job in stack.recorder.jobs() {
            let mut names = stack.recorder.names_of(job);
            // Where there is a Retry layer.
            names.retain(|name| *name != "attempt_ended");
            assert_eq!(names, ["dispatched", "started", "succeeded"]);
        }
    });
}

/// An error, after whatever retries: the job fails.
#[test]
fn an_error_ends_the_job_once() {
    over(everything(), async |stack| {
        let inner = Scripted::<u32, u32>::script([Err("down")]).repeat_last();
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        assert_eq!(call(&mut service, 1).await.unwrap_err().to_string(), "down");
        stack.assert_idle();
        let attempts = if stack.has("r") { 3 } else { calls.count() };
        stack.assert_jobs(jobs_of_attempts(&stack, attempts));
        assert_all_ended(&stack, |kind| failed(kind, FailureCause::Error));
    });
}

/// An error, and an answer to the next attempt, whichever layer makes it: the job succeeds, and all
/// that watch or run it see the same job.
#[test]
fn attempts_belong_to_one_job() {
    // An execution that callers join, and that a foreign retry calls again, is in nobody's job.
    let retries =
        |stack: &Stack| stack.has("RHhr") && !stack.outside("L", "N") && !stack.outside("r", "M");
    over(that(everything(), retries), async |stack| {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let ids = Arc::clone(&seen);
        let cancel = stack.cancel.handle();
        let can_cancel = stack.has("Cc");
        let mut events = stack.progress.handle().subscribe();
        let look = move || {
            let (ids, cancel) = (Arc::clone(&ids), cancel.clone());
            Step::run(move |request: u32| async move {
                let (job, attempt) = (Job::current().id(), Job::current().attempt());
                if can_cancel {
                    assert_eq!(running_ids(&cancel), job.into_iter().collect::<Vec<_>>());
                }
                let mut ids = ids.lock().unwrap();
                ids.push((job, attempt));
                if ids.len() == 1 {
                    Err("first")
                } else {
                    Ok(request + 1)
                }
            })
        };
        let mut service = stack.around(Scripted::new().otherwise(look).strict());
        assert_eq!(call(&mut service, 1).await.unwrap(), 2);
        stack.assert_idle();

        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 2);
        let recorder = &stack.recorder;
        stack.assert_jobs(jobs_of_attempts(&stack, 2));
        if jobs_of_attempts(&stack, 2) == 1 {
            let job = recorder.job();
            // Of a foreign retry the job knows nothing.
            let ours = stack.has("RHh") && !stack.outside("RHh", "r");
            let second = if ours { 2 } else { 1 };
            assert_eq!(seen, [(Some(job), 1), (Some(job), second)], "{recorder}");
            assert_eq!(recorder.terminal(job), Some(EventKind::Succeeded));
            for event in ["retry_scheduled", "retrying"] {
                assert_eq!(
                    recorder.count(event),
                    usize::from(ours),
                    "{event}\n{recorder}"
                );
            }
            while let Some(event) = events.try_recv() {
                assert_eq!(event.unwrap().job, job);
            }
        }
    });
}

/// A time limit: the job fails as timed out.
#[test]
fn a_time_limit_ends_the_job_once() {
    over(that(everything(), in_sight("TAIiGg")), async |stack| {
        let inner = silent();
        let calls = inner.calls();
        let mut service = stack.around(inner.strict());
        let result = call(&mut service, 1).await;
        assert_eq!(stopped(&result), Some(Why::TimedOut), "{result:?}");
        // Detached work is cancelled, and ends in its own time.
        settle().await;
        assert_eq!(calls.in_flight(), 0);
        stack.assert_idle();
        if stack.joins_unseen() {
            stack.recorder.assert_one_terminal_each();
        } else {
            stack.assert_jobs(1);
            assert_all_ended(&stack, |kind| failed(kind, FailureCause::TimedOut));
            let told = stack.recorder.count("timed_out");
            assert!(told >= 1, "the limit was not told of\n{}", stack.recorder);
        }
    });
}

/// A cancellation by the handle: the job is cancelled, and the other one is not.
#[test]
fn a_cancellation_ends_the_job_once() {
    over(that(everything(), |stack| stack.has("Cc")), async |stack| {
        let cancel = stack.cancel.handle();
        let inner = Scripted::new().never().answer(3);
        let service = stack.around(inner.strict());
        let task = spawn_call(&service, 1);
        settle().await;
        assert_eq!(call_of(&service, 2).await.unwrap(), 3);
        let [job] = running_ids(&cancel)[..] else {
            panic!("one job runs: {cancel:?}")
        };
        assert!(cancel.cancel(job));
        let result = task.await.unwrap();
        assert_eq!(stopped(&result), Some(Why::Cancelled), "{result:?}");
        settle().await;
        stack.assert_idle();
        stack.assert_jobs(2);
        let recorder = &stack.recorder;
        let [first, second] = recorder.jobs()[..] else {
            unreachable!("there are two")
        };
        assert!(
            matches!(
                recorder.terminal(first),
                Some(EventKind::Cancelled {
                    reason: CancelReason::Requested,
                    ..
                })
            ),
            "{recorder}"
        );
        assert_eq!(recorder.terminal(second), Some(EventKind::Succeeded));
        if !stack.has("N") {
            assert_eq!(job, first);
        }
    });
}

/// A duplicate: its job fails as one, where a log outside sees it, and never starts.
#[test]
fn a_duplicate_ends_its_job_once() {
    over(that(everything(), in_sight("D")), async |stack| {
        let inner = slow_echo(5);
        let calls = inner.calls();
        let service = stack.around(inner.strict());
        let first = spawn_call(&service, 1);
        settle().await;
        let result = call_of(&service, 1).await;
        assert_eq!(stopped(&result), Some(Why::Duplicate), "{result:?}");
        assert_eq!(first.await.unwrap().unwrap(), 2);
        settle().await;
        assert_eq!(calls.count(), 1);
        stack.assert_idle();

        let seen = stack.outside("L", "D");
        stack.assert_jobs(if seen { 2 } else { 1 });
        let recorder = &stack.recorder;
        let jobs = recorder.jobs();
        assert_eq!(recorder.terminal(jobs[0]), Some(EventKind::Succeeded));
        if seen {
            let ended = recorder.terminal(jobs[1]);
            assert!(
                ended.is_some_and(|kind| failed(&kind, FailureCause::Duplicate)),
                "{recorder}"
            );
            assert!(
                !recorder.names_of(jobs[1]).contains(&"started"),
                "{recorder}"
            );
        }
    });
}

#[track_caller]
fn assert_replaced(result: &Result<u32, BoxError>) {
    // A Cancel layer outside is the first to answer.
    let why = stopped(result);
    assert!(
        matches!(why, Some(Why::Duplicate | Why::Cancelled)),
        "{result:?}"
    );
}

fn is_replaced(kind: &EventKind) -> bool {
    let reason = CancelReason::Replaced;
    matches!(kind, EventKind::Cancelled { reason: why, .. } if *why == reason)
}

/// A newer call takes the place of the running call, whose job ends as replaced and whose work is
/// dropped.
#[test]
fn a_replaced_call_ends_its_job_once() {
    over(that(everything(), in_sight("E")), async |stack| {
        let inner = slow_echo(5);
        let calls = inner.calls();
        let service = stack.around(inner.strict());
        let first = spawn_call(&service, 1);
        settle().await;
        assert_eq!(calls.in_flight(), 1);
        assert_eq!(call_of(&service, 1).await.unwrap(), 2);
        assert_replaced(&first.await.unwrap());
        assert_eq!(
            (calls.count(), calls.completed(), calls.dropped()),
            (2, 1, 1)
        );
        settle().await;
        stack.assert_idle();

        stack.assert_jobs(2);
        let recorder = &stack.recorder;
        let ended: Vec<_> = recorder
            .jobs()
            .iter()
            .map(|job| recorder.terminal(*job))
            .collect();
        assert!(ended[0].as_ref().is_some_and(is_replaced), "{recorder}");
        assert_eq!(ended[1], Some(EventKind::Succeeded), "{recorder}");
        assert_eq!(stack.breaker.handle().snapshot().failures_in_a_row, 0);
    });
}

/// Of two calls that wait for the running call, the last runs next. The other's job ends as
/// replaced, and never starts.
#[test]
fn a_waiting_call_that_is_replaced_never_starts() {
    over(that(everything(), in_sight("W")), async |stack| {
        let inner = slow_echo(3);
        let calls = inner.calls();
        let service = stack.around(inner.strict());
        let first = spawn_call(&service, 1);
        settle().await;
        let second = spawn_call(&service, 1);
        settle().await;
        assert_eq!((calls.count(), stack.dedup.in_flight()), (1, 1));
        let third = spawn_call(&service, 1);
        assert_replaced(&second.await.unwrap());
        assert_eq!(first.await.unwrap().unwrap(), 2);
        assert_eq!(third.await.unwrap().unwrap(), 2);
        assert_eq!(
            (calls.completed(), calls.peak(), calls.dropped()),
            (2, 1, 0)
        );
        settle().await;
        stack.assert_idle();

        let seen = stack.outside("L", "W");
        stack.assert_jobs(if seen { 3 } else { 2 });
        let recorder = &stack.recorder;
        for (job, number) in recorder.jobs().into_iter().zip(1..) {
            if seen && number == 2 {
                assert!(recorder.terminal(job).as_ref().is_some_and(is_replaced));
                recorder.assert_names_of(job, ["dispatched", "cancelled"]);
            } else {
                assert_eq!(recorder.terminal(job), Some(EventKind::Succeeded));
            }
        }
        assert_eq!(stack.breaker.handle().snapshot().failures_in_a_row, 0);
    });
}

/// An open circuit: the job fails as turned away by it, where a log outside sees it, and never
/// starts.
#[test]
fn an_open_circuit_ends_the_job_once() {
    over(that(everything(), in_sight("B")), async |stack| {
        stack.breaker.handle().force_open();
        let mut service = stack.around(echo().strict());
        let result = call(&mut service, 1).await;
        assert_eq!(stopped(&result), Some(Why::Open), "{result:?}");
        settle().await;
        stack.assert_idle();
        let seen = stack.outside("L", "B");
        stack.assert_jobs(usize::from(seen));
        assert_all_ended(&stack, |kind| failed(kind, FailureCause::CircuitOpen));
        assert_eq!(stack.recorder.count("started"), 0, "{}", stack.recorder);
    });
}

/// A circuit that opens is reported, once, to the job whose failure opened it.
#[test]
fn a_circuit_that_opens_is_reported() {
    let told = |stack: &Stack| in_sight("B")(stack) && !stack.outside("B", "M");
    over(that(everything(), told), async |mut stack| {
        let circuit = stack.breaker.handle();
        circuit.update(|settings| settings.failure_threshold = Some(0));
        stack.retry = stack.retry.max_retries(0);
        let inner = Scripted::<u32, u32>::script([Err("down")]).repeat_last();
        let mut service = stack.around(inner.strict());
        assert!(call(&mut service, 1).await.is_err());
        stack.assert_jobs(1);
        let recorder = &stack.recorder;
        assert_eq!(recorder.count("circuit_opened"), 1, "{recorder}");
    });
}

/// The code inside knows when the next limit ends it, wherever that layer stands in the stack. What
/// goes on for others, or detached, is not ended by a limit outside.
#[test]
fn the_limits_are_known_inside() {
    over(
        that(everything(), |stack| stack.has("TGAg")),
        async |stack| {
            let inner = Scripted::<u32, u32>::new().otherwise(|| {
                Step::with(|_| {
                    let left = Job::current().remaining().map_or(0, |left| left.as_secs());
                    Ok(left as u32)
                })
            });
            let holds = |letters| !stack.ending(letters).is_empty();
            let expected = match (holds("Ag"), holds("TG")) {
                (true, _) => 10,
                (false, true) => 60,
                (false, false) => 0,
            };
            let mut service = stack.around(inner.strict());
            assert_eq!(call(&mut service, 1).await.unwrap(), expected);
        },
    );
}
