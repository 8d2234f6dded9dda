//! Runs one case over many stacks, and what the cases share.

use std::{any::Any, future::poll_fn, panic::AssertUnwindSafe, pin::pin, thread};

use futures::FutureExt;
use tokio::{runtime::Builder, task::JoinHandle};
use tower::Service;
use tower_keep::{BoxError, Job};
use tower_keep_test::{Scripted, Step, secs};

use crate::stack::{Service as Boxed, Stack};

/// Runs the case for each stack and names all that fail.
///
/// Each gets a paused runtime on a thread of its own. A case that waits for what never comes fails
/// after a year, and one whose stack wakes itself without end fails too.
#[track_caller]
pub(crate) fn over(words: Vec<String>, case: impl AsyncFn(Stack) + Sync) {
    assert!(!words.is_empty(), "no stack to run over");
    let run = |word: &str| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let case = no_circles(case(Stack::new(word)));
            let ran = tokio::time::timeout(secs(365 * 24 * 3600), case).await;
            assert!(ran.is_ok(), "it hangs");
            assert_no_job();
        });
    };
    let failures: Vec<String> = words
        .iter()
        .filter_map(|word| {
            let ran = thread::scope(|scope| scope.spawn(|| run(word)).join());
            ran.err()
                .map(|panic| format!("{word}: {}", message(&*panic)))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} stacks fail:\n{}",
        failures.len(),
        words.len(),
        failures.join("\n"),
    );
}

/// Fails a future that is woken without end: it would keep a paused clock from going on.
async fn no_circles<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        assert!(polls < 10_000, "it polls in circles");
        future.as_mut().poll(cx)
    })
    .await
}

/// Calls a clone of this service in a task of its own.
pub(crate) fn spawn_call(service: &Boxed, request: u32) -> JoinHandle<Result<u32, BoxError>> {
    let mut service = service.clone();
    tokio::spawn(no_circles(async move { call(&mut service, request).await }))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

/// A service that answers with the number after the request's.
pub(crate) fn echo() -> Scripted<u32, u32> {
    Scripted::always(|request| Ok(request + 1))
}

/// As [`echo`], after this many seconds.
pub(crate) fn slow_echo(seconds: u64) -> Scripted<u32, u32> {
    Scripted::new()
        .otherwise(move || Step::with(|request: u32| Ok(request + 1)).after(secs(seconds)))
}

/// A service that never answers.
pub(crate) fn silent() -> Scripted<u32, u32> {
    Scripted::new().otherwise(Step::never)
}

pub(crate) async fn ready(service: &mut Boxed) -> Result<(), BoxError> {
    poll_fn(|cx| service.poll_ready(cx)).await
}

/// Waits for readiness, then calls this same instance.
pub(crate) async fn call(service: &mut Boxed, request: u32) -> Result<u32, BoxError> {
    ready(service).await?;
    service.call(request).await
}

/// As [`call`], on a clone of its own.
pub(crate) async fn call_of(service: &Boxed, request: u32) -> Result<u32, BoxError> {
    call(&mut service.clone(), request).await
}

/// As [`call`]; `Err` holds what a panic said.
pub(crate) async fn try_call(
    service: &mut Boxed,
    request: u32,
) -> Result<Result<u32, BoxError>, String> {
    AssertUnwindSafe(call(service, request))
        .catch_unwind()
        .await
        .map_err(|panic| message(&*panic).to_owned())
}

/// Lets every spawned task do what it can do now.
pub(crate) async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// Asserts that no job is left over as the current one.
#[track_caller]
pub(crate) fn assert_no_job() {
    assert_eq!(Job::current().id(), None, "a job is left ambient");
}
