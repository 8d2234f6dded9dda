//! The table of levels in the module's documentation matches the code.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::event::{
    AttemptOutcome, CancelReason, EventKind, FailureCause, GiveUpReason, LimitScope, Report,
};

/// One event of each kind, and one of each level if a kind has two.
fn kinds() -> Vec<EventKind> {
    let (text, time): (Arc<str>, _) = ("text".into(), Duration::ZERO);
    let failed = |cause| EventKind::Failed {
        cause,
        error: "text".into(),
    };
    let given_up = |reason| EventKind::RetryGivenUp {
        attempt: 1,
        max_retries: 0,
        reason,
    };
    vec![
        EventKind::Dispatched,
        EventKind::Started,
        EventKind::Progress(Report::default()),
        EventKind::StepStarted {
            name: text.clone(),
            number: 1,
            total: None,
        },
        EventKind::StepSucceeded {
            took: time,
            within: None,
        },
        EventKind::AttemptEnded {
            attempt: 1,
            took: time,
            outcome: AttemptOutcome::Cancelled,
        },
        EventKind::RetryScheduled {
            attempt: 1,
            max_retries: 1,
            took: time,
            delay: time,
            error: text.clone(),
        },
        EventKind::Retrying {
            attempt: 2,
            max_retries: 1,
        },
        given_up(GiveUpReason::Exhausted),
        given_up(GiveUpReason::Budget),
        EventKind::TimedOut {
            scope: LimitScope::Overall,
            name: None,
            limit: time,
            dropped: true,
        },
        EventKind::CircuitOpened {
            circuit: text.clone(),
            cooldown: time,
            cause: text.clone(),
        },
        EventKind::CircuitWouldReject {
            circuit: text.clone(),
        },
        EventKind::CircuitHalfOpened {
            circuit: text.clone(),
        },
        EventKind::CircuitClosed { circuit: text },
        EventKind::Duplicate {
            of: None,
            joined: false,
        },
        EventKind::CacheHit {
            of: None,
            age: time,
            stale: false,
        },
        EventKind::Succeeded,
        failed(FailureCause::Error),
        failed(FailureCause::CircuitOpen),
        failed(FailureCause::Duplicate),
        failed(FailureCause::Rejected),
        failed(FailureCause::TimedOut),
        failed(FailureCause::Panicked),
        EventKind::Cancelled {
            reason: CancelReason::Requested,
            dropped: true,
        },
    ]
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The table in the module's documentation has every event, at its level, and nothing else.
#[test]
fn the_table_is_what_is_logged() {
    let mut table = BTreeSet::new();
    for row in include_str!("../mod.rs").lines() {
        let level = row
            .strip_prefix("//! | ")
            .and_then(|row| row.split_once(' '));
        if let Some((level @ ("ERROR" | "WARN" | "INFO" | "DEBUG"), events)) = level {
            table.extend(quoted(events).map(|name| (name, level.to_owned())));
        }
    }
    let logged = kinds();
    let logged: BTreeSet<_> = logged
        .iter()
        .map(|kind| (kind.name(), level_of(kind).to_string()))
        .collect();
    assert_eq!(table, logged);
}

/// The list above has every kind.
#[test]
fn each_kind_is_looked_at() {
    let code = include_str!("../../event/kind.rs");
    let (_, code) = code.split_once("pub fn name(&self)").unwrap();
    let (code, _) = code.split_once("\n    }\n").unwrap();
    let names: BTreeSet<_> = code.split('"').skip(1).step_by(2).collect();
    let seen: BTreeSet<_> = kinds().iter().map(EventKind::name).collect();
    assert_eq!(seen, names);
}
