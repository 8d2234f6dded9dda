//! The shape of each type, pinned; and that what is read is what was written. Each enum is gone through variant by variant,
//! by a match that a further variant breaks.

use std::{fmt::Debug, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::number;
use crate::event::{
    CancelReason, Event, EventKind, FailureCause, GiveUpReason, JobId, JobName, LimitScope, Report,
    StepInfo,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(id: u64) -> JobId {
    JobId::from_u64(id).unwrap()
}

/// It has this shape, and is read from it: also where the reader finds a field that it does not know, or misses one that
/// may be absent.
#[track_caller]
pub(super) fn shape<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, shape: Value) {
    assert_eq!(serde_json::to_value(value).unwrap(), shape);
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value);
    reads(value, shape);
}

#[track_caller]
fn reads<T: DeserializeOwned + PartialEq + Debug>(value: &T, shape: Value) {
    assert_eq!(serde_json::from_value::<T>(shape.clone()).unwrap(), *value);
    if let Value::Object(mut fields) = shape {
        fields.retain(|_, value| !value.is_null());
        fields.insert("of_a_later_version".to_owned(), json!({"any": ["thing"]}));
        let later = Value::Object(fields);
        assert_eq!(serde_json::from_value::<T>(later).unwrap(), *value);
    }
}

/// Goes through all variants: `next` says what comes after each.
fn each<T: Clone>(first: T, next: impl Fn(&T) -> Option<T>) -> Vec<T> {
    std::iter::successors(Some(first), next).collect()
}

#[test]
fn ids_and_names() {
    shape(&id(7), json!("7"));
    shape(&id(u64::MAX), json!("18446744073709551615"));
    for none in [
        json!("0"),
        json!("seven"),
        json!(7),
        json!(""),
        json!(null),
        json!("-1"),
    ] {
        let error = serde_json::from_value::<JobId>(none).unwrap_err();
        let expected = "a whole number from 1 to 2^64 - 1";
        assert!(error.to_string().contains(expected), "{error}");
    }
    shape(&JobName::from("import \"a\"\n"), json!("import \"a\"\n"));
    shape(&JobName::EMPTY, json!(""));
}

#[test]
fn failure_causes() {
    use FailureCause::*;
    let all = each(Error, |cause| match cause {
        Error => Some(TimedOut),
        TimedOut => Some(CircuitOpen),
        CircuitOpen => Some(Duplicate),
        Duplicate => Some(Panicked),
        Panicked => Some(Rejected),
        Rejected => None,
    });
    let names = [
        "error",
        "timed_out",
        "circuit_open",
        "duplicate",
        "panicked",
        "rejected",
    ];
    assert_eq!(all.len(), names.len());
    for (cause, name) in all.iter().zip(names) {
        shape(cause, json!(name));
    }
    serde_json::from_value::<FailureCause>(json!("of_a_later_version")).unwrap_err();
}

#[test]
fn reasons_to_give_up() {
    use GiveUpReason::*;
    let all = each(Exhausted, |reason| match reason {
        Exhausted => Some(Budget),
        Budget => Some(Deadline),
        Deadline => Some(TotalTime),
        TotalTime => Some(NotRepeatable),
        NotRepeatable => Some(Forbidden),
        Forbidden => Some(AskedTooLong),
        AskedTooLong => Some(NotRetryable),
        NotRetryable => None,
    });
    let names = [
        "exhausted",
        "budget",
        "deadline",
        "total_time",
        "not_repeatable",
        "forbidden",
        "asked_too_long",
        "not_retryable",
    ];
    assert_eq!(all.len(), names.len());
    for (reason, name) in all.iter().zip(names) {
        shape(reason, json!(name));
    }
}

fn cancel_reasons() -> Vec<(CancelReason, Value)> {
    use CancelReason::*;
    let all = each(Requested, |reason| match reason {
        Requested => Some(Replaced),
        Replaced => Some(TimedOut),
        TimedOut => Some(Shutdown),
        Shutdown => Some(CallerGone),
        CallerGone => Some("a whim".into()),
        Other(_) => None,
    });
    let shapes = [
        json!({"type": "requested"}),
        json!({"type": "replaced"}),
        json!({"type": "timed_out"}),
        json!({"type": "shutdown"}),
        json!({"type": "caller_gone"}),
        json!({"type": "other", "text": "a whim"}),
    ];
    assert_eq!(all.len(), shapes.len());
    all.into_iter().zip(shapes).collect()
}

#[test]
fn reasons_of_cancellations() {
    for (reason, form) in cancel_reasons() {
        shape(&reason, form);
    }
    serde_json::from_value::<CancelReason>(json!({"type": "other"})).unwrap_err();
}

#[test]
fn scopes_of_limits() {
    use LimitScope::*;
    let all = each(Overall, |scope| match scope {
        Overall => Some(Attempt),
        Attempt => Some(Idle),
        Idle => Some(Step("upload".into())),
        Step(_) => None,
    });
    let shapes = [
        json!({"type": "overall"}),
        json!({"type": "attempt"}),
        json!({"type": "idle"}),
        json!({"type": "step", "name": "upload"}),
    ];
    assert_eq!(all.len(), shapes.len());
    for (scope, form) in all.iter().zip(shapes) {
        shape(scope, form);
    }
}

#[test]
fn reports_and_steps() {
    shape(
        &Report::new(0.25).message("parsing"),
        json!({"fraction": 0.25, "message": "parsing", "step": null}),
    );
    shape(
        &Report::step(1, 4),
        json!({"fraction": 0.25, "message": null, "step": {"current": 1, "total": 4}}),
    );
    shape(
        &StepInfo::new("upload", 2, Some(3)),
        json!({"name": "upload", "number": 2, "total": 3}),
    );
    shape(
        &StepInfo::new("", 2, None),
        json!({"name": "", "number": 2, "total": null}),
    );
    // What no report holds is not read into one.
    for (read, report) in [
        (json!({"fraction": 7}), Report::new(1.0)),
        (json!({"fraction": -1}), Report::new(0.0)),
        (
            json!({"fraction": 0.9, "step": {"current": 1, "total": 2}}),
            Report::step(1, 2),
        ),
    ] {
        assert_eq!(serde_json::from_value::<Report>(read).unwrap(), report);
    }
}

/// Each kind of event, and its shape without its type.
#[allow(clippy::too_many_lines, reason = "it is a list")]
fn kinds() -> Vec<(EventKind, Value)> {
    use EventKind::*;
    let circuit = || Arc::from("db");
    let all = each(Dispatched, |kind| {
        Some(match kind {
            Dispatched => Started,
            Started => Progress(Report::step(1, 2).message("half")),
            Progress(_) => StepStarted {
                name: "upload".into(),
                number: 2,
                total: Some(3),
            },
            StepStarted { .. } => StepSucceeded {
                took: Duration::from_micros(1_500_250),
                within: Some(StepInfo::new("all", 1, None)),
            },
            StepSucceeded { .. } => RetryScheduled {
                attempt: 1,
                max_retries: 3,
                delay: ms(1000),
                error: "busy".into(),
            },
            RetryScheduled { .. } => Retrying {
                attempt: 2,
                max_retries: 3,
            },
            Retrying { .. } => RetryGivenUp {
                attempt: 4,
                max_retries: 3,
                reason: GiveUpReason::Exhausted,
            },
            RetryGivenUp { .. } => TimedOut {
                scope: LimitScope::Step("upload".into()),
                limit: Duration::MAX,
                dropped: true,
            },
            TimedOut { .. } => CircuitOpened {
                circuit: circuit(),
                cooldown: ms(30_000),
                cause: "refused".into(),
            },
            CircuitOpened { .. } => CircuitWouldReject { circuit: circuit() },
            CircuitWouldReject { .. } => CircuitHalfOpened { circuit: circuit() },
            CircuitHalfOpened { .. } => CircuitClosed { circuit: circuit() },
            CircuitClosed { .. } => Duplicate {
                of: Some(id(6)),
                joined: true,
            },
            Duplicate { .. } => AnsweredFromKept {
                of: None,
                age: Duration::from_nanos(1),
                stale: false,
            },
            AnsweredFromKept { .. } => Succeeded,
            Succeeded => Failed {
                cause: FailureCause::TimedOut,
                error: "too slow".into(),
            },
            Failed { .. } => Cancelled {
                reason: CancelReason::Requested,
                dropped: false,
            },
            Cancelled { .. } => return None,
        })
    });
    let shapes = [
        json!({}),
        json!({}),
        json!({"fraction": 0.5, "message": "half", "step": {"current": 1, "total": 2}}),
        json!({"name": "upload", "number": 2, "total": 3}),
        json!({"took_ms": 1500.25, "within": {"name": "all", "number": 1, "total": null}}),
        json!({"attempt": 1, "max_retries": 3, "delay_ms": 1000.0, "error": "busy"}),
        json!({"attempt": 2, "max_retries": 3}),
        json!({"attempt": 4, "max_retries": 3, "reason": "exhausted"}),
        json!({
            "scope": {"type": "step", "name": "upload"},
            "limit_ms": 18_446_744_073_709_552e6,
            "dropped": true,
        }),
        json!({"circuit": "db", "cooldown_ms": 30_000.0, "cause": "refused"}),
        json!({"circuit": "db"}),
        json!({"circuit": "db"}),
        json!({"circuit": "db"}),
        json!({"of": "6", "joined": true}),
        json!({"of": null, "age_ms": 1e-6, "stale": false}),
        json!({}),
        json!({"cause": "timed_out", "error": "too slow"}),
        json!({"reason": {"type": "requested"}, "dropped": false}),
    ];
    assert_eq!(all.len(), shapes.len());
    all.into_iter().zip(shapes).collect()
}

#[test]
fn kinds_of_events() {
    for (kind, mut form) in kinds() {
        form["type"] = json!(kind.name());
        shape(&kind, form);
    }
    for (reason, form) in cancel_reasons() {
        let cancelled = EventKind::Cancelled {
            reason,
            dropped: true,
        };
        shape(
            &cancelled,
            json!({"type": "cancelled", "reason": form, "dropped": true}),
        );
    }
    serde_json::from_value::<EventKind>(json!({"type": "of_a_later_version"})).unwrap_err();
}

/// An event of a moment that the numbers of its form are exact for.
fn event(kind: EventKind) -> (Event, f64) {
    let at = number::of_unix_ms(1_764_439_569_123.5);
    let event = Event {
        name: "import".into(),
        external_id: Some("order-7".into()),
        parent: Some(id(3)),
        attempt: 2,
        seq: 5,
        at,
        elapsed: ms(1500),
        step: Some(StepInfo::new("upload", 2, None)),
        ..Event::new(id(7), kind)
    };
    (event, 1_764_439_569_123.5)
}

#[test]
fn events() {
    for (kind, mut form) in kinds() {
        form["type"] = json!(kind.name());
        let (event, at) = event(kind);
        let expected = json!({
            "job": "7",
            "name": "import",
            "external_id": "order-7",
            "parent": "3",
            "attempt": 2,
            "seq": 5,
            "at": at,
            "elapsed_ms": 1500.0,
            "step": {"name": "upload", "number": 2, "total": null},
            "kind": form,
        });
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!(written, expected);
        let Value::Object(mut later) = written.clone() else {
            panic!("an object")
        };
        later.insert("of_a_later_version".to_owned(), json!(1));
        let read: Event = serde_json::from_value(Value::Object(later)).unwrap();
        assert_eq!(read.at, event.at);
        assert_eq!(format!("{read:?}"), format!("{event:?}"));
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }
    let least = json!({
        "job": "7", "name": "", "attempt": 1, "seq": 0, "at": 0, "elapsed_ms": 0,
        "kind": {"type": "started"},
    });
    let read: Event = serde_json::from_value(least).unwrap();
    assert_eq!(
        (read.parent, read.external_id, read.step),
        (None, None, None)
    );
}

/// Whatever number is read as a time or a duration, it is one or is refused, and is written as it was read.
#[test]
fn numbers_that_are_read() {
    let with = |at: Value, elapsed: Value| {
        let mut written = serde_json::to_value(event(EventKind::Started).0).unwrap();
        written["at"] = at;
        written["elapsed_ms"] = elapsed;
        serde_json::from_value::<Event>(written)
    };
    let times = [
        f64::MIN,
        -1e30,
        -1.0,
        0.0,
        1e-9,
        1.764e12,
        1e15,
        1e30,
        f64::MAX,
    ];
    let read = times.map(|at| with(json!(at), json!(0)).unwrap().at);
    assert!(read.is_sorted());
    assert!(read.iter().all(|at| number::unix_ms(*at).is_finite()));
    assert_eq!(number::unix_ms(read[5]), times[5]);
    let text = with(json!("2026-01-01"), json!(0)).unwrap_err();
    assert!(text.to_string().contains("f64"), "{text}");
    for elapsed in [json!(-1), json!(-1e-9), json!("1"), json!(null)] {
        with(json!(0), elapsed.clone()).expect_err(&elapsed.to_string());
    }
    for (elapsed, expected) in [
        (json!(1), ms(1)),
        (json!(1.5), Duration::from_micros(1500)),
        (json!(1e300), Duration::MAX),
        (json!(0), Duration::ZERO),
    ] {
        assert_eq!(with(json!(0), elapsed).unwrap().elapsed, expected);
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A duration of less than a month is read as it was written, and any other is written as it was read.
        #[test]
        fn durations(nanos in 0..1_u64 << 51, any in any::<u64>()) {
            let there = |duration| number::of_millis(number::millis(duration)).unwrap();
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(there(duration), duration);
            let duration = Duration::from_secs(any);
            prop_assert_eq!(number::millis(there(duration)), number::millis(duration));
        }

        /// A moment is read to within a microsecond, and written as it was read.
        #[test]
        fn moments(nanos in 0..1_u64 << 60) {
            let now = Instant::now();
            let earlier = now.checked_sub(Duration::from_nanos(nanos));
            for at in [Some(now + Duration::from_nanos(nanos)), earlier].into_iter().flatten() {
                let read = number::of_unix_ms(number::unix_ms(at));
                prop_assert!(read.max(at) - read.min(at) < Duration::from_micros(1));
                prop_assert_eq!(number::unix_ms(read), number::unix_ms(at));
            }
        }

        /// Any text and any number is read as it was written.
        #[test]
        fn texts(text: String, fraction: f64, numbers: (u32, u32, u64)) {
            // A text of JSON is read to the last digit of a number only where the reader is told to.
            let there = |report: &Report| -> Report {
                serde_json::from_value(serde_json::to_value(report).unwrap()).unwrap()
            };
            let report = Report::new(fraction).message(text.as_str());
            prop_assert_eq!(there(&report), report);
            let report = Report::step(numbers.0, numbers.1);
            prop_assert_eq!(there(&report), report);
            let reason = CancelReason::from(text);
            let written = serde_json::to_string(&reason).unwrap();
            prop_assert_eq!(serde_json::from_str::<CancelReason>(&written).unwrap(), reason);
            let id = id(numbers.2.max(1));
            let written = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<JobId>(&written).unwrap(), id);
        }
    }
}

#[cfg(feature = "progress")]
#[test]
fn views() {
    use crate::progress::{JobState, JobView, Snapshot};

    let states = each(JobState::Waiting, |state| match state {
        JobState::Waiting => Some(JobState::Joined),
        JobState::Joined => Some(JobState::Running),
        JobState::Running => Some(JobState::Backoff),
        JobState::Backoff => Some(JobState::Succeeded),
        JobState::Succeeded => Some(JobState::Failed(FailureCause::Panicked)),
        JobState::Failed(_) => Some(JobState::Cancelled("a whim".into())),
        JobState::Cancelled(_) => None,
    });
    let shapes = [
        json!({"type": "waiting"}),
        json!({"type": "joined"}),
        json!({"type": "running"}),
        json!({"type": "backoff"}),
        json!({"type": "succeeded"}),
        json!({"type": "failed", "cause": "panicked"}),
        json!({"type": "cancelled", "reason": {"type": "other", "text": "a whim"}}),
    ];
    assert_eq!(states.len(), shapes.len());
    let at = number::of_unix_ms(1_764_439_569_123.5);
    for (state, form) in states.into_iter().zip(shapes) {
        shape(&state, form.clone());
        let unseen = JobView {
            dispatched_at: at,
            changed_at: at,
            state: state.clone(),
            ..JobView::unseen(id(7))
        };
        let form = |more: Value| {
            let mut all = json!({
                "job": "7",
                "name": "",
                "external_id": null,
                "parent": null,
                "attempt": 1,
                "dispatched_at": 1_764_439_569_123.5,
                "started_at": null,
                "ended_at": null,
                "changed_at": 1_764_439_569_123.5,
                "report": {"fraction": 0.0, "message": null, "step": null},
                "step": null,
                "state": form,
                "error": null,
            });
            let (all_fields, more) = (all.as_object_mut().unwrap(), more);
            all_fields.extend(more.as_object().unwrap().clone());
            all
        };
        shape(&unseen, form(json!({})));
        let view = JobView {
            name: "import".into(),
            external_id: Some("order-7".into()),
            parent: Some(id(3)),
            started_at: Some(at + ms(1)),
            ended_at: Some(at + ms(2)),
            step: Some(StepInfo::new("upload", 1, None)),
            error: Some("busy".into()),
            ..unseen
        };
        let more = json!({
            "name": "import",
            "external_id": "order-7",
            "parent": "3",
            "started_at": 1_764_439_569_124.5,
            "ended_at": 1_764_439_569_125.5,
            "step": {"name": "upload", "number": 1, "total": null},
            "error": "busy",
        });
        shape(&view, form(more.clone()));
        let snapshot = Snapshot {
            running: vec![view.clone()],
            history: Vec::new(),
        };
        let written = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(written, json!({"running": [form(more)], "history": []}));
        let read: Snapshot = serde_json::from_value(written).unwrap();
        assert_eq!((read.running, read.history), (vec![view], Vec::new()));
    }
}

#[cfg(feature = "cancel")]
#[test]
fn what_the_cancel_handle_lists() {
    use crate::cancel::{Running, Shutdown};

    let running = Running {
        job: id(7),
        name: "import".into(),
        external_id: None,
        parent: None,
        age: ms(250),
        attempt: 2,
        cancelled: Some(CancelReason::Shutdown),
    };
    let form = json!({
        "job": "7",
        "name": "import",
        "external_id": null,
        "parent": null,
        "age_ms": 250.0,
        "attempt": 2,
        "cancelled": {"type": "shutdown"},
    });
    assert_eq!(serde_json::to_value(&running).unwrap(), form);
    let read: Running = serde_json::from_value(form).unwrap();
    assert_eq!(format!("{read:?}"), format!("{running:?}"));
    shape(
        &Shutdown {
            finished: 1,
            cancelled: 2,
            otherwise: 3,
            refused: 4,
        },
        json!({"finished": 1, "cancelled": 2, "otherwise": 3, "refused": 4}),
    );
    reads(&Shutdown::default(), json!({}));
}

#[cfg(feature = "dedup")]
#[test]
fn what_the_dedup_handle_lists() {
    use crate::dedup::{DedupCounts, InFlight};

    let counts = DedupCounts {
        executions: 1,
        joined: 2,
        replaced: 3,
        rejected: 4,
        hits: 5,
        stale_hits: 6,
        failed_renewals: 7,
    };
    let form = json!({
        "executions": 1, "joined": 2, "replaced": 3, "rejected": 4, "hits": 5, "stale_hits": 6,
        "failed_renewals": 7,
    });
    shape(&counts, form);
    reads(&DedupCounts::default(), json!({}));
    let since = number::of_unix_ms(1_764_439_569_123.5);
    let in_flight = InFlight::new("user:7".to_owned(), Some(id(7)), 2, since, false);
    let form = json!({
        "key": "user:7", "job": "7", "followers": 2, "since": 1_764_439_569_123.5, "waiting": false,
    });
    assert_eq!(serde_json::to_value(&in_flight).unwrap(), form);
    let read: InFlight<String> = serde_json::from_value(form).unwrap();
    assert_eq!(format!("{read:?}"), format!("{in_flight:?}"));
}

#[cfg(feature = "retry")]
#[test]
fn what_a_budget_holds() {
    let balance = crate::retry::Balance::of(10, 2, 1);
    shape(
        &balance,
        json!({"first_attempts": 10, "retries": 2, "available": 1}),
    );
}

#[cfg(feature = "circuit-breaker")]
#[test]
fn circuits() {
    use std::num::NonZeroU32;

    use crate::circuit_breaker::{CircuitTransition, Mode, Settings, Snapshot, State, Window};

    let states = each(State::Closed, |state| match state {
        State::Closed => Some(State::Open),
        State::Open => Some(State::HalfOpen),
        State::HalfOpen => None,
    });
    for (state, name) in states.iter().zip(["closed", "open", "half_open"]) {
        shape(state, json!(name));
    }
    let modes = each(Mode::Automatic, |mode| match mode {
        Mode::Automatic => Some(Mode::ForcedOpen),
        Mode::ForcedOpen => Some(Mode::ForcedClosed),
        Mode::ForcedClosed => Some(Mode::Disabled),
        Mode::Disabled => Some(Mode::ObserveOnly),
        Mode::ObserveOnly => None,
    });
    let names = [
        "automatic",
        "forced_open",
        "forced_closed",
        "disabled",
        "observe_only",
    ];
    assert_eq!((states.len(), modes.len()), (3, names.len()));
    for (mode, name) in modes.iter().zip(names) {
        shape(mode, json!(name));
    }
    let snapshot = Snapshot {
        state: State::Open,
        mode: Mode::Automatic,
        failures_in_a_row: 1,
        calls: 2,
        failures: 3,
        slow_calls: 4,
        slow_in_flight: 5,
        probes: 6,
        probe_successes: 7,
        probe_failures: 8,
        rejected: 9,
        opened: 10,
        time_until_probe: Some(ms(11)),
        cause: None,
    };
    shape(
        &snapshot,
        json!({
            "state": "open", "mode": "automatic", "failures_in_a_row": 1, "calls": 2, "failures": 3,
            "slow_calls": 4, "slow_in_flight": 5, "probes": 6, "probe_successes": 7,
            "probe_failures": 8, "rejected": 9, "opened": 10, "time_until_probe_ms": 11.0,
            "cause": null,
        }),
    );
    let transition = CircuitTransition {
        circuit: "db".into(),
        sequence: 1,
        from: State::Closed,
        to: State::Open,
        mode: Mode::Automatic,
        manual: false,
        failures_in_a_row: 2,
        calls: 3,
        failures: 4,
        slow_calls: 5,
        probe_successes: 6,
        probe_failures: 7,
        cause: Some("refused".into()),
        cooldown: None,
    };
    shape(
        &transition,
        json!({
            "circuit": "db", "sequence": 1, "from": "closed", "to": "open", "mode": "automatic",
            "manual": false, "failures_in_a_row": 2, "calls": 3, "failures": 4, "slow_calls": 5,
            "probe_successes": 6, "probe_failures": 7, "cause": "refused", "cooldown_ms": null,
        }),
    );

    let settings = Settings {
        failure_rate: Some(crate::ratio::Ratio::HALF),
        ..Settings::default()
    };
    assert_eq!(
        serde_json::to_value(settings).unwrap(),
        json!({
            "failure_threshold": null, "failure_rate": 0.5, "slow_call_rate": null,
            "slow_call_duration_ms": 10_000.0, "count_in_flight": false,
            "window": {"type": "calls", "calls": 100}, "minimum_calls": 20,
            "cooldown_ms": 30_000.0, "growing": false, "max_cooldown_ms": 300_000.0,
            "cooldown_jitter": null, "half_open_probes": 1, "half_open_successes": 1,
            "half_open_failures": 1, "probe_timeout_ms": null, "ramp_ms": null,
        }),
    );
    let window = |window: Window| serde_json::to_value(window).unwrap();
    let expected = json!({"type": "time", "length_ms": 60_000.0});
    assert_eq!(window(Window::time(ms(60_000)).unwrap()), expected);
    let expected = json!({"type": "calls", "calls": 1});
    assert_eq!(window(Window::calls(NonZeroU32::MIN)), expected);
}
