//! A service in which anything goes wrong, by a seed: whatever it does, nothing is left behind.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_keep::{CancelReason, circuit_breaker::State};
use tower_keep_test::{Fault, FaultLayer, Faults, InjectedFault, ms, secs};

use crate::{
    run::{assert_no_job, call_of, over, ready, settle},
    stack::{Inner, Service as Boxed, Stack},
    stacks::{all, that},
};

/// The calls of one run, and how many of them are under way at a time.
const CALLS: u32 = 48;
const AT_A_TIME: u32 = 8;

/// How long a caller waits for readiness, and for an answer where nothing limits the call.
const PATIENCE: std::time::Duration = secs(1000);

/// What the layers around are to do with an error of any type: they see its text.
#[derive(Debug)]
struct Broken(Option<InjectedFault>);

impl From<InjectedFault> for Broken {
    fn from(fault: InjectedFault) -> Self {
        Self(Some(fault))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A service of one place per call, with faults by this seed.
fn faulty(seed: u64) -> (impl Inner, Faults, Arc<Semaphore>) {
    let layer = FaultLayer::seeded(seed)
        .inject_all(0.06)
        .inject(Fault::StaleWake, 0.02)
        .delays(ms(1)..=secs(20));
    let echo = service_fn(async |request: u32| {
        tokio::time::sleep(ms(100)).await;
        Ok::<_, Broken>(request + 1)
    });
    let faults = layer.faults();
    let permits = Arc::new(Semaphore::new(AT_A_TIME as usize));
    let limited = ConcurrencyLimit::with_semaphore(layer.layer(echo), Arc::clone(&permits));
    let inner = limited.map_err(|_: Broken| "injected");
    (inner, faults, permits)
}

/// Whether a call of this stack has a limit from its beginning to its end: whatever waits within it
/// for readiness, or for another attempt, is inside the limit.
fn is_limited(stack: &Stack) -> bool {
    let waits = ["R", "D", "M", "E", "W"];
    let outside = |waits: &str| !stack.has(waits) || stack.outside("TG", waits);
    stack.has("TG") && waits.into_iter().all(outside)
}

/// One caller. It may leave after a while.
async fn caller(mut service: Boxed, request: u32, limited: bool) {
    let Ok(Ok(())) = timeout(PATIENCE, ready(&mut service)).await else {
        return;
    };
    let leaves = request % 5 == 0;
    let patience = if leaves { ms(150) } else { PATIENCE };
    // A panic of the call is the caller's.
    let call = AssertUnwindSafe(async { service.call(request % 7).await }).catch_unwind();
    let ended = timeout(patience, call).await;
    assert_no_job();
    assert!(
        ended.is_ok() || leaves || !limited,
        "a call hangs that has a limit"
    );
}

/// Makes all calls, some at a time, and lets each come to its end.
async fn make_calls(stack: &Stack, inner: impl Inner) {
    let service = stack.around(inner);
    let limited = is_limited(stack);
    for first in (0..CALLS).step_by(AT_A_TIME as usize) {
        let mut callers = JoinSet::new();
        for request in first..first + AT_A_TIME {
            callers.spawn(caller(service.clone(), request, limited));
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        }
    }
    // Detached work that hangs is stopped by nothing else.
    stack.cancel.handle().cancel_all(CancelReason::Requested);
    tokio::time::sleep(secs(60)).await;
    settle().await;
}

/// Every layer alone, and all seven together in many orders, over a service that fails, panics,
/// hangs, is slow, or is not ready, with callers that leave: no permit, no key and no job is left,
/// each job has one ending, no call hangs that has a limit, and once the service has recovered a
/// call goes through, probe or not.
#[test]
fn nothing_is_left_behind_whatever_goes_wrong() {
    for seed in 0..3 {
        over(all(), async |stack| {
            let (inner, faults, permits) = faulty(seed);
            make_calls(&stack, inner.clone()).await;

            assert_eq!(permits.available_permits(), AT_A_TIME as usize, "{faults}");
            faults.assert_idle();
            stack.assert_idle();
            if stack.has("L") {
                stack.recorder.assert_one_terminal_each();
            }
            let ended = faults.completed() + faults.dropped() + faults.panicked();
            assert_eq!(ended, faults.count());
            assert!(faults.by_kind().len() > 5, "{faults}");

            faults.stop();
            // An open circuit lets a probe through after its cooldown.
            tokio::time::sleep(secs(60)).await;
            let service = stack.around(inner);
            for request in 100..103 {
                let answer = timeout(PATIENCE, call_of(&service, request)).await;
                let answer = answer.unwrap_or_else(|_| panic!("it hangs\n{faults}"));
                assert_eq!(answer.unwrap(), request + 1, "{faults}");
            }
            let circuit = stack.breaker.handle();
            assert_eq!(
                (circuit.state(), circuit.snapshot().probes),
                (State::Closed, 0)
            );
            stack.assert_idle();
            assert_eq!(permits.available_permits(), AT_A_TIME as usize);
        });
    }
}

/// A seed makes the same run each time, through all seven layers.
#[test]
fn a_seed_makes_the_same_run() {
    let words = ["LPCDBTRA", "LPCMBTRA", "LPcEBGRg", "ARTBWCPL"];
    over(words.map(str::to_owned).to_vec(), async |stack| {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let stack = stack.fresh();
            let (inner, faults, _) = faulty(11);
            make_calls(&stack, inner).await;
            runs.push((faults.to_string(), stack.recorder.names()));
        }
        assert_eq!(runs[0], runs[1]);
    });
}

/// The stacks whose calls are limited are there.
#[test]
fn limits_are_put_to_the_test() {
    assert!(that(all(), is_limited).len() > 10);
}
