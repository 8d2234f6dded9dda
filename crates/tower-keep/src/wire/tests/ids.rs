//! The form of ids, names, reasons and reports.

use serde_json::{Value, json};

use super::{each, id, shape};
use crate::event::{
    AttemptOutcome, CancelReason, FailureCause, GiveUpReason, JobId, JobName, LimitScope, Report,
    StepInfo, Unit,
};

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

pub(super) fn cancel_reasons() -> Vec<(CancelReason, Value)> {
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
fn outcomes_of_attempts() {
    let all = each(AttemptOutcome::Succeeded, |outcome| match outcome {
        AttemptOutcome::Succeeded => Some(AttemptOutcome::Failed(FailureCause::TimedOut)),
        AttemptOutcome::Failed(_) => Some(AttemptOutcome::Cancelled),
        AttemptOutcome::Cancelled => None,
    });
    let shapes = [
        json!({"type": "succeeded"}),
        json!({"type": "failed", "cause": "timed_out"}),
        json!({"type": "cancelled"}),
    ];
    assert_eq!(all.len(), shapes.len());
    for (outcome, form) in all.iter().zip(shapes) {
        shape(outcome, form);
    }
}

#[test]
fn reports_and_steps() {
    shape(
        &Report::new(0.25).message("parsing"),
        json!({"fraction": 0.25, "amount": null, "message": "parsing", "step": null}),
    );
    shape(
        &Report::step(1, 4),
        json!({"fraction": 0.25, "amount": null, "message": null, "step": {"current": 1, "total": 4}}),
    );
    shape(
        &Report::bytes(1, Some(4)).at_step(2, 3),
        json!({
            "fraction": 0.25,
            "amount": {"done": 1, "total": 4, "unit": "bytes"},
            "message": null,
            "step": {"current": 2, "total": 3},
        }),
    );
    shape(
        &Report::items(u64::MAX, None),
        json!({
            "fraction": null,
            "amount": {"done": u64::MAX, "total": null, "unit": "items"},
            "message": null,
            "step": null,
        }),
    );
    let units = each(Unit::Items, |unit| match unit {
        Unit::Items => Some(Unit::Bytes),
        Unit::Bytes => None,
    });
    for (unit, name) in units.iter().zip(["items", "bytes"]) {
        shape(unit, json!(name));
    }
    shape(
        &StepInfo::new("upload", 2, Some(3)),
        json!({"name": "upload", "number": 2, "total": 3}),
    );
    shape(
        &StepInfo::new("", 2, None),
        json!({"name": "", "number": 2, "total": null}),
    );
    // Values that no report holds cannot be read into one.
    for (read, report) in [
        (json!({"fraction": 7}), Report::new(1.0)),
        (json!({"fraction": -1}), Report::new(0.0)),
        (
            json!({"fraction": 0.9, "step": {"current": 1, "total": 2}}),
            Report::new(0.9).at_step(1, 2),
        ),
        (json!({"fraction": null}), Report::default()),
        (
            json!({"fraction": 0.9, "amount": {"done": 1, "unit": "items"}}),
            Report::items(1, None),
        ),
    ] {
        assert_eq!(serde_json::from_value::<Report>(read).unwrap(), report);
    }
}
