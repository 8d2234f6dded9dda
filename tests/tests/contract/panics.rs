//! A service that panics, in `call` or in its future.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tower_keep::{EventKind, FailureCause, circuit_breaker::State, dedup::Duplicate, find};
use tower_keep_test::{Recorder, Scripted, Step, secs};

use crate::{
    permits::one_at_a_time,
    reasons::{Why, stopped},
    run::{assert_no_job, call, call_of, over, spawn_call, try_call},
    stack::Stack,
    stacks::{all, everything, that, watched},
};

type MakeStep = fn() -> Step<u32, u32>;

/// In the future at once, in the future later, in `call`.
const PANICS: [MakeStep; 3] = [
    || Step::panic("boom"),
    || Step::panic("boom").after(secs(1)),
    || Step::panic_in_call("boom"),
];

/// A service that panics until the switch is on: where a retry stands outside Dedup's join, more
/// than once.
fn panicking(panic: MakeStep) -> (Scripted<u32, u32>, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&works);
    let script = Scripted::new().otherwise(move || {
        if works.load(Ordering::Relaxed) {
            Step::answer(2)
        } else {
            panic()
        }
    });
    (script, switch)
}

#[track_caller]
fn assert_all_panicked(recorder: &Recorder) {
    for job in recorder.jobs() {
        let ended = recorder.terminal(job);
        assert!(
            matches!(
                ended,
                Some(EventKind::Failed {
                    cause: FailureCause::Panicked,
                    ..
                })
            ),
            "{recorder}"
        );
    }
}

/// The panic reaches the caller (where callers join, an error does instead), everything is
/// released, each job ends once, as panicked, and the next call on the same instance works.
#[test]
fn a_panic_releases_everything() {
    for panic in PANICS {
        over(everything(), async |stack| {
            let (script, works) = panicking(panic);
            let calls = script.calls();
            let (inner, permits) = one_at_a_time(script);
            let mut service = stack.around(inner);

            let caught = try_call(&mut service, 1).await;
            assert_no_job();
            if stack.has("M") {
                let result = caught.expect("an error instead of the panic");
                assert_eq!(stopped(&result), Some(Why::Duplicate), "{result:?}");
            } else {
                assert_eq!(caught.unwrap_err(), "boom");
            }
            let panicked = calls.panicked();
            assert!(panicked == 1 || stack.outside("RHhr", "M"));
            assert_eq!(permits.available_permits(), 1);
            stack.assert_idle();
            let jobs = if stack.executes_apart() { panicked } else { 1 };
            stack.assert_jobs(jobs);
            // What a foreign retry calls again cannot tell the job why it failed.
            if !stack.outside("r", "M") {
                assert_all_panicked(&stack.recorder);
            }

            works.store(true, Ordering::Relaxed);
            assert_eq!(call(&mut service, 1).await.unwrap(), 2);
            assert_eq!(call_of(&service, 1).await.unwrap(), 2);
            assert_eq!(permits.available_permits(), 1);
            stack.assert_idle();
            stack.assert_jobs(jobs + 2);
        });
    }
}

/// A panic in a task: its join error says that it panicked, and the next call works.
#[test]
fn a_panic_ends_its_task_only() {
    let plain = |stack: &Stack| !stack.has("M");
    over(that(all(), plain), async |stack| {
        let script = Scripted::new().step(Step::panic("boom")).answer(2);
        let (inner, permits) = one_at_a_time(script);
        let service = stack.around(inner);
        let task = spawn_call(&service, 1);
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(permits.available_permits(), 1);
        stack.assert_idle();
        assert_eq!(call_of(&service, 1).await.unwrap(), 2);
    });
}

/// A panic of a later attempt is no different.
#[test]
fn a_panic_of_a_later_attempt_releases_everything() {
    let retries = |stack: &Stack| stack.has("RHh") && !stack.has("M");
    for panic in PANICS {
        over(that(watched(), retries), async |stack| {
            let script = Scripted::new().error("first").step(panic()).answer(2);
            let (inner, permits) = one_at_a_time(script);
            let mut service = stack.around(inner);
            assert_eq!(try_call(&mut service, 1).await.unwrap_err(), "boom");
            assert_no_job();
            assert_eq!(permits.available_permits(), 1);
            stack.assert_idle();
            stack.assert_jobs(1);
            assert_all_panicked(&stack.recorder);
            assert_eq!(call(&mut service, 1).await.unwrap(), 2);
            stack.assert_jobs(2);
        });
    }
}

/// Everybody who joined an execution that panics gets an error that says so, and each of their jobs
/// ends once.
#[test]
fn all_who_joined_a_panicking_execution_get_an_error() {
    let joins = |stack: &Stack| stack.has("M") && !stack.outside("RHh", "M");
    over(that(watched(), joins), async |stack| {
        let script = Scripted::new()
            .step(Step::panic("boom").after(secs(1)))
            .answer(2);
        let calls = script.calls();
        let service = stack.around(script.strict());
        let results = futures::future::join_all((0..3).map(|_| call_of(&service, 1))).await;
        for result in &results {
            assert_eq!(stopped(result), Some(Why::Duplicate), "{result:?}");
            if let Err(error) = result {
                let known = find::<Duplicate>(&**error);
                assert!(known.is_none_or(Duplicate::execution_panicked), "{error}");
            }
        }
        assert_eq!(calls.panicked(), 1);
        stack.assert_idle();
        stack.assert_jobs(if stack.joins_unseen() { 1 } else { 3 });
        for job in stack.recorder.jobs() {
            let ended = stack.recorder.terminal(job);
            assert!(
                matches!(ended, Some(EventKind::Failed { .. })),
                "{}",
                stack.recorder
            );
        }
        assert_eq!(call_of(&service, 1).await.unwrap(), 2);
    });
}

/// A retry outside Dedup gets the error of a panicked execution, not a panic, and tries again.
/// Whether the job is tracked makes no difference to the caller; tracked, its one job is a success.
#[test]
fn a_retry_outside_a_panicked_execution_tries_again() {
    let words = ["RM", "RMB", "LRM", "RLM", "LRMB", "CRM", "RPM", "RALPCMBT"];
    over(words.map(str::to_owned).to_vec(), async |stack| {
        let script = Scripted::new().step(Step::panic("boom")).answer(2);
        let mut service = stack.around(script.strict());
        let result = call(&mut service, 1).await;
        assert_eq!(result.unwrap(), 2);
        stack.assert_idle();
        if stack.has("L") {
            stack.assert_jobs(1);
            let recorder = &stack.recorder;
            let ended = recorder.terminal(recorder.job());
            assert_eq!(ended, Some(EventKind::Succeeded), "{recorder}");
        }
    });
}

/// A probe that panics gives its place back: the circuit opens, and after the cooldown another
/// probe may close it.
#[test]
fn a_panicking_probe_gives_its_place_back() {
    let probing = |stack: &Stack| stack.has("B") && !stack.has("M");
    for panic in PANICS {
        over(that(all(), probing), async |mut stack| {
            let circuit = stack.breaker.handle();
            circuit.update(|settings| settings.failure_threshold = Some(0));
            stack.retry = stack.retry.max_retries(0);
            let script = Scripted::new()
                .error("down")
                .step(panic())
                .step(panic())
                .answer(2);
            let mut service = stack.around(script.strict());
            assert!(call(&mut service, 1).await.is_err());
            for _ in 0..2 {
                assert_eq!(circuit.state(), State::Open);
                tokio::time::advance(secs(30)).await;
                assert_eq!(try_call(&mut service, 1).await.unwrap_err(), "boom");
            }
            assert_eq!(circuit.state(), State::Open);
            tokio::time::advance(secs(30)).await;
            assert_eq!(call(&mut service, 1).await.unwrap(), 2);
            assert_eq!(circuit.state(), State::Closed);
        });
    }
}
