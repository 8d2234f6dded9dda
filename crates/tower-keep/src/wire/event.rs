//! Serialization of events.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::value::{ms, optional_text, text, time};
use crate::event::{
    AttemptOutcome, CancelReason, Event, EventKind, FailureCause, GiveUpReason, JobId, JobName,
    LimitScope, Report, StepInfo,
};
#[cfg(feature = "http")]
use crate::http::HttpExchange;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Event")]
struct EventForm {
    job: JobId,
    name: JobName,
    #[serde(default, with = "optional_text")]
    external_id: Option<Arc<str>>,
    parent: Option<JobId>,
    attempt: u32,
    seq: u64,
    #[serde(with = "time")]
    at: Instant,
    #[serde(rename = "elapsed_ms", with = "ms")]
    elapsed: Duration,
    step: Option<StepInfo>,
    #[cfg(feature = "http")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpExchange>,
    kind: EventKind,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EventKind", tag = "type", rename_all = "snake_case")]
enum EventKindForm {
    Dispatched,
    Started,
    Progress(Report),
    StepStarted {
        #[serde(with = "text")]
        name: Arc<str>,
        number: u32,
        total: Option<u32>,
    },
    StepSucceeded {
        #[serde(rename = "took_ms", with = "ms")]
        took: Duration,
        within: Option<StepInfo>,
    },
    AttemptEnded {
        attempt: u32,
        #[serde(rename = "took_ms", with = "ms")]
        took: Duration,
        outcome: AttemptOutcome,
    },
    RetryScheduled {
        attempt: u32,
        max_retries: u32,
        #[serde(rename = "took_ms", with = "ms")]
        took: Duration,
        #[serde(rename = "delay_ms", with = "ms")]
        delay: Duration,
        #[serde(with = "text")]
        error: Arc<str>,
    },
    Retrying {
        attempt: u32,
        max_retries: u32,
    },
    RetryGivenUp {
        attempt: u32,
        max_retries: u32,
        reason: GiveUpReason,
    },
    TimedOut {
        scope: LimitScope,
        #[serde(default, with = "optional_text")]
        name: Option<Arc<str>>,
        #[serde(rename = "limit_ms", with = "ms")]
        limit: Duration,
        dropped: bool,
    },
    CircuitOpened {
        #[serde(with = "text")]
        circuit: Arc<str>,
        #[serde(rename = "cooldown_ms", with = "ms")]
        cooldown: Duration,
        #[serde(with = "text")]
        cause: Arc<str>,
    },
    CircuitWouldReject {
        #[serde(with = "text")]
        circuit: Arc<str>,
    },
    CircuitHalfOpened {
        #[serde(with = "text")]
        circuit: Arc<str>,
    },
    CircuitClosed {
        #[serde(with = "text")]
        circuit: Arc<str>,
    },
    Duplicate {
        of: Option<JobId>,
        joined: bool,
    },
    CacheHit {
        of: Option<JobId>,
        #[serde(rename = "age_ms", with = "ms")]
        age: Duration,
        stale: bool,
    },
    Succeeded,
    Failed {
        cause: FailureCause,
        #[serde(with = "text")]
        error: Arc<str>,
    },
    Cancelled {
        reason: CancelReason,
        dropped: bool,
    },
}

is_its_form! {
    Event => EventForm,
    EventKind => EventKindForm,
}
