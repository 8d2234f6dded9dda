//! The table: each setter, with an argument.

use std::{
    future::{Ready, ready},
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Request, StatusCode};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, IdempotencyKeyLayer,
    JobLayer, LogLayer, Outcome, Pipeline, ProgressLayer, Ratio, ReplayLayer, ResumeLayer,
    RetryLayer, SendDeadlineLayer, TimeoutLayer,
    circuit_breaker::{Settings, Window},
    log::Level,
    retry::{Attempt, Backoff, Decision, Jitter, RetryBudget, RetryBudgets},
};
use tower_keep_test::{Fault, FaultLayer, Readiness, Step, secs};

use super::checks::{
    Row, after_clone, after_handle, after_service, chance, checks, refused, settings,
};
use super::{
    source::Setter,
    witness::{Circuit, Full, silent, silent_pages},
};

macro_rules! table {
    ($rows:ident, $of:literal, $with:ident($base:expr); $($setter:ident($($argument:expr),*)),+ $(,)?) => {$(
        $rows.push(Row {
            setter: Setter::new($of, stringify!($setter)),
            checks: checks!($with, $base, |layer| layer.$setter($($argument),*)),
        });
    )+};
}

const ONE: NonZeroU32 = NonZeroU32::MIN;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

const SECOND: Duration = secs(1);

type Judged = Result<u32, BoxError>;

/// All setters.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    circuit_breaker(&mut rows);
    retry(&mut rows);
    the_others(&mut rows);
    together(&mut rows);
    rows
}

fn circuit_breaker(rows: &mut Vec<Row>) {
    table!(rows, "CircuitBreakerLayer", circuits(CircuitBreakerLayer::new());
        failure_threshold(9),
        failure_rate(Ratio::HALF),
        slow_call_rate(Ratio::HALF),
        slow_call_duration(SECOND),
        count_in_flight(),
        window(Window::calls(ONE)),
        minimum_calls(ONE),
        cooldown(SECOND),
        growing_cooldown(),
        max_cooldown(SECOND),
        cooldown_jitter(Ratio::HALF),
        seed(7),
        half_open_probes(ONE),
        half_open_successes(ONE),
        half_open_failures(ONE),
        probe_timeout(SECOND),
        ramp(SECOND),
        with_settings(Settings::default()),
        named("other"),
        on_transition(|_| ()),
        ignore_timeouts(),
        count_dropped(),
        classify(|_: &Judged| Outcome::Success),
        retry_after(|_: &Judged| None),
        fail_with(|_| "open"),
        respond_with(|_| 0),
        backpressure(),
        per_key(|request: &u32| *request),
    );
    // The same settings of the other kinds of circuit.
    table!(rows, "CircuitBreakerLayer", circuits(CircuitBreakerLayer::new().backpressure());
        failure_threshold(9),
        seed(7),
        named("other"),
        on_transition(|_| ()),
        ignore_timeouts(),
        count_dropped(),
        classify(|_: &Judged| Outcome::Success),
        fail_with(|_| "open"),
    );
    table!(rows, "CircuitBreakerLayer", circuits(CircuitBreakerLayer::new().per_key(|_: &u32| 1_u32));
        failure_threshold(9),
        seed(7),
        named("other"),
        on_transition(|_| ()),
        ignore_timeouts(),
        count_dropped(),
        classify(|_: &Judged| Outcome::Success),
        fail_with(|_| "open"),
        max_circuits(TWO),
        evict_idle_after(SECOND),
    );
}

fn circuit<L, H>(layer: L, handle: fn(&L) -> H) -> Circuit<L, H> {
    Circuit { layer, handle }
}

fn seeded() -> RetryLayer {
    RetryLayer::new().seed(7).jitter(Jitter::Full)
}

fn retry(rows: &mut Vec<Row>) {
    table!(rows, "RetryLayer", chance(seeded());
        max_retries(2),
        backoff(Backoff::linear(SECOND)),
        base_delay(secs(2)),
        max_delay(secs(2)),
        max_requested_delay(SECOND),
        clamp_requested_delay(),
        jitter(Jitter::Equal),
        seed(8),
        max_total_time(secs(1000)),
        stop_outer_retries(),
        budget(RetryBudget::default().floor(100)),
        should_retry(|_: &BoxError| true),
        classify(|_: &Judged| Outcome::Failure),
        decide_with(|_: &Judged, _| Decision::Retry),
        decide_with_request(|_: &u32| (), |(): &(), _: &Judged, _| Decision::Retry),
        policy(|_: &Judged, _: &Attempt<'_>| Decision::Stop),
        retry_after(|_: &Judged| None),
        clone_with(|request: &u32| Some(*request)),
        on_give_up(|outcome: Judged, _| outcome),
        budget_by(|_: &u32| None),
        max_retries_by(|_: &u32| None),
        before_attempt(|_: &mut u32, _| {}),
        before_attempt_async(prepared),
        before_attempt_async_with_outcome(|_: &Judged| (), prepared_after),
    );
    table!(rows, "RetryLayer", settings(RetryLayer::http());
        decide_first(|_: &Judged, _| None),
        retry_status(StatusCode::INTERNAL_SERVER_ERROR),
        retry_every_method(),
        hints(|_: StatusCode, _: &HeaderMap| None),
        repeat_by(|_: &Request<String>| None),
        max_body(9),
        budget_per_authority(RetryBudget::default()),
        attempt_header(HeaderName::from_static("attempt")),
        resume(),
    );
    table!(rows, "ResumeLayer", settings(ResumeLayer::new());
        max_resumptions(9),
        backoff(Backoff::linear(SECOND)),
        jitter(Jitter::Equal),
        max_requested_delay(SECOND),
        budget(RetryBudget::default().floor(100)),
    );
    table!(rows, "RetryBudget", settings(RetryBudget::default());
        floor(9),
        window(secs(9)),
    );
    table!(rows, "RetryBudgets", settings(RetryBudgets::<String>::new(RetryBudget::default()));
        max_keys(TWO),
    );
}

fn prepared(request: u32, _: &Attempt<'_>) -> Ready<Judged> {
    ready(Ok(request))
}

fn prepared_after(request: u32, _: &Attempt<'_>, _: Option<()>) -> Ready<Judged> {
    ready(Ok(request))
}

fn by_request(request: &u32) -> Option<u32> {
    Some(*request)
}

type ByRequestFn = fn(&u32) -> Option<u32>;

fn the_others(rows: &mut Vec<Row>) {
    table!(rows, "DedupLayer", shared(DedupLayer::new(by_request as ByRequestFn));
        join(),
        latest(),
        debounce(SECOND),
        respond_with(|_| 0),
        fail_with(|_| BoxError::from("duplicate")),
    );
    table!(rows, "DedupLayer", shared(DedupLayer::new(by_request as ByRequestFn).debounce(SECOND));
        max_wait(SECOND),
    );
    table!(rows, "DedupLayer", shared(DedupLayer::new(by_request as ByRequestFn).join());
        cache(SECOND),
    );
    table!(rows, "DedupLayer", shared(DedupLayer::new(by_request as ByRequestFn).join().cache(SECOND));
        max_entries(TWO),
        stale_while_revalidate(SECOND),
        classify(|_: &Judged| Outcome::Success),
        refresh_if(|_: &u32| true),
    );
    table!(rows, "DedupLayer", shared(DedupLayer::http_get());
        max_body(9),
        ignore_header(HeaderName::from_static("x-sent-at")),
    );
    table!(rows, "ProgressLayer", shared(ProgressLayer::new());
        history(2),
    );
    table!(rows, "ProgressLayer", shared(ProgressLayer::http());
        uploads(),
    );
    table!(rows, "CancelLayer", shared(CancelLayer::new());
        token(CancellationToken::new()),
        shutdown_on(CancellationToken::new(), SECOND),
        grace(SECOND),
        replace(by_request),
        group_by(by_request),
        detached(),
        fail_with(|_| "cancelled"),
        respond_with(|_| 0),
    );
    table!(rows, "TimeoutLayer", settings(TimeoutLayer::new(SECOND));
        per_attempt(),
        idle(),
        step_limit(SECOND),
        grace(SECOND),
        named("db"),
        limit_by(|_: &u32| None),
        step_limit_by(|_: &u32| None),
        fail_with(|_| "late"),
        respond_with(|_| 0),
    );
    table!(rows, "TimeoutLayer", settings(TimeoutLayer::http_attempt(SECOND));
        idle(SECOND),
        step_limit(SECOND),
        grace(SECOND),
        named("db"),
    );
    table!(rows, "LogLayer", settings(LogLayer::new());
        level(Level::WARN),
        level_with(|_| None),
        classify(|_: &Judged| Outcome::Success),
    );
    table!(rows, "LogLayer", settings(LogLayer::http());
        level(Level::WARN),
        level_with(|_| None),
        classify(|_: &Judged| Outcome::Success),
    );
    table!(rows, "IdempotencyKeyLayer", settings(IdempotencyKeyLayer::new());
        header(HeaderName::from_static("key")),
        bare(),
        key_with(|_: &Request<String>| None),
    );
    table!(rows, "ReplayLayer", settings(ReplayLayer::new());
        max_body(9),
    );
    table!(rows, "SendDeadlineLayer", settings(SendDeadlineLayer::new());
        header(HeaderName::from_static("deadline")),
    );
    table!(rows, "JobLayer", settings(JobLayer::new("job"));
        identified_by(|_: &u32| None::<&str>),
        http(),
    );
}

fn full() -> Full {
    Pipeline::new().dedup(DedupLayer::new(by_request as ByRequestFn))
}

fn together(rows: &mut Vec<Row>) {
    table!(rows, "Dispatcher", shared(Dispatcher::new(silent()));
        named("job"),
        named_by(|_: &u32| "job"),
        identified_by(|_: &u32| None::<&str>),
        limit(TWO),
        grace(SECOND),
        history(2),
        shutdown_on(CancellationToken::new(), SECOND),
        on(Handle::current()),
        fail_with(|_| BoxError::from("unfinished")),
        respond_with(|_| 0),
    );
    table!(rows, "Dispatcher", shared(Dispatcher::new(silent_pages()));
        http(),
    );
    table!(rows, "Pipeline", cloned(full());
        log(LogLayer::new()),
        progress(ProgressLayer::new()),
        cancel(CancelLayer::new()),
        dedup(DedupLayer::new(by_request as ByRequestFn)),
        circuit_breaker(CircuitBreakerLayer::new()),
        timeout(TimeoutLayer::new(secs(70))),
        retry(RetryLayer::new().max_retries(1)),
        attempt_timeout(TimeoutLayer::new(secs(9)).per_attempt()),
    );
    table!(rows, "FaultLayer", shared(FaultLayer::seeded(1));
        inject(Fault::Error, 0.1),
        inject_all(0.1),
        script([None]),
        readiness_script([None]),
        delays(SECOND..=SECOND),
    );
    table!(rows, "Scripted", refused(());
        step(Step::answer(1)),
        times(1, || Step::answer(1)),
        answer(1),
        answer_after(SECOND, 1),
        error("broken"),
        error_after(SECOND, "broken"),
        panic("broken"),
        never(),
        repeat_last(),
        otherwise(|| Step::answer(1)),
        readiness(Readiness::ok()),
        readiness_otherwise(Readiness::ok),
        never_ready(),
        recording(),
    );
}
