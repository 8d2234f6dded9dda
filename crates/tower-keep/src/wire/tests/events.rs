//! The form of events.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{super::number, each, id, ids::cancel_reasons, ms, shape};
use crate::event::{
    AttemptOutcome, CancelReason, Event, EventKind, FailureCause, GiveUpReason, LimitScope, Report,
    StepInfo,
};

/// Each kind of event, and its form without its type.
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
            StepSucceeded { .. } => AttemptEnded {
                attempt: 1,
                took: ms(250),
                outcome: AttemptOutcome::Failed(FailureCause::Error),
            },
            AttemptEnded { .. } => RetryScheduled {
                attempt: 1,
                max_retries: 3,
                took: ms(250),
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
                name: Some("db".into()),
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
            Duplicate { .. } => CacheHit {
                of: None,
                age: Duration::from_nanos(1),
                stale: false,
            },
            CacheHit { .. } => Succeeded,
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
        json!({"fraction": 0.5, "amount": null, "message": "half", "step": {"current": 1, "total": 2}}),
        json!({"name": "upload", "number": 2, "total": 3}),
        json!({"took_ms": 1500.25, "within": {"name": "all", "number": 1, "total": null}}),
        json!({"attempt": 1, "took_ms": 250.0, "outcome": {"type": "failed", "cause": "error"}}),
        json!({"attempt": 1, "max_retries": 3, "took_ms": 250.0, "delay_ms": 1000.0, "error": "busy"}),
        json!({"attempt": 2, "max_retries": 3}),
        json!({"attempt": 4, "max_retries": 3, "reason": "exhausted"}),
        json!({
            "scope": {"type": "step", "name": "upload"},
            "name": "db",
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

/// An event at a time that its form represents exactly.
pub(super) fn event(kind: EventKind) -> (Event, f64) {
    let at = number::of_unix_ms(1_764_439_569_123.5).unwrap();
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

#[cfg(feature = "http")]
#[test]
fn exchanges_of_events() {
    use http::{Method, StatusCode};

    use crate::http::{HttpExchange, body::BodyEnd};

    let authority = |text: &str| text.parse().unwrap();
    let (mut event, _) = event(EventKind::Succeeded);
    let without = serde_json::to_value(&event).unwrap();
    assert!(without.get("http").is_none(), "as without the feature");
    let mut with_status = HttpExchange::new(&Method::POST, Some(authority("localhost:8080")));
    with_status.status = Some(StatusCode::SERVICE_UNAVAILABLE);
    with_status.body = Some(BodyEnd::Stalled);
    for (exchange, form) in [
        (
            with_status,
            json!({
                "method": "POST",
                "authority": "localhost:8080",
                "status": 503,
                "body": "stalled",
            }),
        ),
        (
            HttpExchange::new(&Method::GET, Some(authority("[::1]"))),
            json!({"method": "GET", "authority": "[::1]", "status": null, "body": null}),
        ),
        (
            HttpExchange::new(&Method::from_bytes(b"PURGE").unwrap(), None),
            json!({"method": "_OTHER", "authority": null, "status": null, "body": null}),
        ),
    ] {
        shape(&exchange, form.clone());
        event.http = Some(exchange);
        let mut written = serde_json::to_value(&event).unwrap();
        let read: Event = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(read.http, event.http);
        assert_eq!(written["http"].take(), form);
        written.as_object_mut().unwrap().remove("http");
        assert_eq!(written, without);
    }
    for (form, expected) in [
        (json!({"method": "GET"}), Ok(("GET", None))),
        (
            json!({"method": "OF_A_LATER_VERSION", "status": 999}),
            Ok(("_OTHER", Some(999))),
        ),
        (json!({"method": "GET", "status": 99}), Err(())),
        (json!({"method": "GET", "body": "lost"}), Err(())),
        (json!({"method": "GET", "status": 65_536}), Err(())),
        (json!({"method": "GET", "authority": "me:secret@"}), Err(())),
        (json!({"status": 200}), Err(())),
    ] {
        let read = serde_json::from_value::<HttpExchange>(form.clone());
        if let Err(error) = &read {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let read = read.map(|read| (read.method, read.status.map(|status| status.as_u16())));
        assert_eq!(read.map_err(|_| ()), expected, "{form}");
    }
}
