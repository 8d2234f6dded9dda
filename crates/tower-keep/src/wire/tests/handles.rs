//! The form of the values that handles show.

#![allow(unused_imports, reason = "each handle has a feature of its own")]

#[cfg(feature = "progress")]
use serde_json::Value;
use serde_json::json;

use super::{super::number, each, id, ms, reads, shape};
#[cfg(feature = "progress")]
use crate::event::Report;
use crate::event::{CancelReason, FailureCause, StepInfo};

#[cfg(feature = "progress")]
#[test]
fn views() {
    use crate::progress::{BoardSnapshot, JobState, JobView};

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
    let at = number::of_unix_ms(1_764_439_569_123.5).unwrap();
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
                "report": {"fraction": 0.0, "amount": null, "message": null, "step": null},
                "rate": null,
                "time_left_ms": null,
                "attempt_started_at": null,
                "next_attempt_at": null,
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
            attempt_started_at: Some(at + ms(1)),
            next_attempt_at: Some(at + ms(3)),
            report: Report::bytes(1, Some(4)),
            rate: Some(0.5),
            time_left: Some(ms(6000)),
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
            "attempt_started_at": 1_764_439_569_124.5,
            "next_attempt_at": 1_764_439_569_126.5,
            "report": {
                "fraction": 0.25,
                "amount": {"done": 1, "total": 4, "unit": "bytes"},
                "message": null,
                "step": null,
            },
            "rate": 0.5,
            "time_left_ms": 6000.0,
            "ended_at": 1_764_439_569_125.5,
            "step": {"name": "upload", "number": 1, "total": null},
            "error": "busy",
        });
        shape(&view, form(more.clone()));
        let snapshot = BoardSnapshot {
            running: vec![view.clone()],
            history: Vec::new(),
        };
        let written = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(written, json!({"running": [form(more)], "history": []}));
        let read: BoardSnapshot = serde_json::from_value(written).unwrap();
        assert_eq!((read.running, read.history), (vec![view], Vec::new()));
    }
}

#[cfg(feature = "cancel")]
#[test]
fn what_the_cancel_handle_lists() {
    use crate::cancel::{RunningJob, ShutdownReport};

    let running = RunningJob {
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
    let read: RunningJob = serde_json::from_value(form).unwrap();
    assert_eq!(format!("{read:?}"), format!("{running:?}"));
    shape(
        &ShutdownReport {
            finished: 1,
            cancelled: 2,
            cancelled_otherwise: 3,
            refused: 4,
        },
        json!({"finished": 1, "cancelled": 2, "cancelled_otherwise": 3, "refused": 4}),
    );
    reads(&ShutdownReport::default(), json!({}));
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
        failed_revalidations: 7,
    };
    let form = json!({
        "executions": 1, "joined": 2, "replaced": 3, "rejected": 4, "hits": 5, "stale_hits": 6,
        "failed_revalidations": 7,
    });
    shape(&counts, form);
    reads(&DedupCounts::default(), json!({}));
    let since = number::of_unix_ms(1_764_439_569_123.5).unwrap();
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

    use crate::circuit_breaker::{CircuitSnapshot, Mode, Settings, State, Transition, Window};

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
    let snapshot = CircuitSnapshot {
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
    let transition = Transition {
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
