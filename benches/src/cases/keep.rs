//! The layers of tower-keep, alone and together.

use std::{hint::black_box, time::Duration};

use tower::{Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, Event, LogLayer, Pipeline,
    ProgressLayer, Ratio, RetryLayer, TimeoutLayer,
};

use super::{Case, Cases, Stack};
use crate::{
    drive::Spawned,
    inner::{Broken, Inner},
};

const MINUTE: Duration = Duration::from_secs(60);
const COOLDOWN: Duration = Duration::from_secs(3600);

fn key(request: &u64) -> Option<u64> {
    Some(*request)
}

fn no_key(_: &u64) -> Option<u64> {
    None
}

/// With a handle taken, as it is of use then only. Nobody listens.
fn progress() -> ProgressLayer {
    let layer = ProgressLayer::new();
    std::mem::forget(layer.handle());
    layer
}

/// With a handle too.
fn cancel() -> CancelLayer {
    let layer = CancelLayer::new();
    std::mem::forget(layer.handle());
    layer
}

pub(super) fn add(cases: &mut Cases) {
    alone(cases);
    together(cases);
    seven(cases);
    rejections(cases);
    dispatcher(cases);
}

fn alone(cases: &mut Cases) {
    cases.add("timeout", TimeoutLayer::new(MINUTE));
    cases.add("retry", RetryLayer::new());
    cases.add("breaker", CircuitBreakerLayer::new());
    cases.add(
        "breaker, count window",
        CircuitBreakerLayer::new().failure_rate(Ratio::HALF),
    );
    cases.add("dedup, reject", DedupLayer::new(key));
    cases.add("dedup, join", DedupLayer::new(key).join());
    cases.add("cancel", cancel());
    cases.add("progress", progress());
    cases.add("log, nobody listens", LogLayer::new());
    cases.add(
        "log to a closure",
        LogLayer::to(|event: &Event| {
            black_box(event);
        }),
    );
}

/// The three layers that have a job.
pub fn log_progress_cancel() -> impl Stack {
    ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(progress())
        .layer(cancel())
}

fn together(cases: &mut Cases) {
    cases.add("log + progress + cancel", log_progress_cancel());
    cases.add(
        "timeout + retry",
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(MINUTE))
            .layer(RetryLayer::new()),
    );
    cases.add(
        "breaker + timeout + retry",
        ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new())
            .layer(TimeoutLayer::new(MINUTE))
            .layer(RetryLayer::new()),
    );
    cases.add(
        "join + breaker + timeout + retry",
        ServiceBuilder::new()
            .layer(DedupLayer::new(key).join())
            .layer(CircuitBreakerLayer::new())
            .layer(TimeoutLayer::new(MINUTE))
            .layer(RetryLayer::new()),
    );
}

/// Two timeouts among them, one for all attempts together and one for each.
macro_rules! pipeline {
    ($($setter:ident($layer:expr)),*) => {
        Pipeline::new()
            .progress(progress())
            .cancel(cancel())
            $(.$setter($layer))*
            .build()
            .expect("the layers fit together")
    };
}

/// All seven layers, for requests without a key.
pub fn seven_without_key() -> impl Stack {
    pipeline!(dedup(DedupLayer::new(no_key)))
}

/// All seven layers, for requests that join each other.
pub fn seven_that_join() -> impl Stack {
    pipeline!(dedup(DedupLayer::new(key).join()))
}

fn seven(cases: &mut Cases) {
    cases.add("all but dedup", pipeline!());
    cases.add("seven, no key", seven_without_key());
    cases.add("seven, reject", pipeline!(dedup(DedupLayer::new(key))));
    cases.add("seven, join", seven_that_join());
}

fn rejections(cases: &mut Cases) {
    let breaker = || CircuitBreakerLayer::new().cooldown(COOLDOWN);
    // With its delays it would take minutes to open the circuit.
    let retry = || RetryLayer::new().should_retry(|_: &BoxError| false);
    cases.add_rejecting("rejection", breaker());
    cases.add_rejecting("rejection, fail_with", breaker().fail_with(|_| Broken));
    cases.add_rejecting(
        "rejection, seven, no key",
        pipeline!(
            dedup(DedupLayer::new(no_key)),
            circuit_breaker(breaker()),
            retry(retry())
        ),
    );
    cases.add_rejecting(
        "rejection, seven, join",
        pipeline!(
            dedup(DedupLayer::new(key).join()),
            circuit_breaker(breaker()),
            retry(retry())
        ),
    );
}

fn dispatcher(cases: &mut Cases) {
    let dispatch = |inner: Inner| {
        let jobs = Dispatcher::new(inner);
        let call = move |request| {
            let job = jobs.dispatch(request);
            async { job.await.is_ok() }
        };
        Box::new(Spawned::new(call, &cases.runtime))
    };
    let case = Case {
        name: "dispatcher",
        ours: cases.ours,
        is_timed: true,
        ready: dispatch(Inner::ready()),
        pends: Some(dispatch(Inner::yielding())),
        bytes: size_of::<<Dispatcher<Inner> as Service<u64>>::Future>(),
    };
    cases.all.push(case);
}
