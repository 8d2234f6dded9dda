//! Serialization of job views and board snapshots.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use super::value::{optional_ms, optional_text, optional_time, time};
use crate::{
    event::{CancelReason, FailureCause, JobId, JobName, Report, StepInfo},
    progress::{BoardSnapshot, JobState, JobView},
};

#[derive(Serialize, Deserialize)]
#[serde(remote = "JobView")]
struct JobViewForm {
    job: JobId,
    name: JobName,
    #[serde(default, with = "optional_text")]
    external_id: Option<Arc<str>>,
    parent: Option<JobId>,
    attempt: u32,
    #[serde(default, with = "optional_time")]
    attempt_started_at: Option<Instant>,
    #[serde(default, with = "optional_time")]
    next_attempt_at: Option<Instant>,
    #[serde(with = "time")]
    dispatched_at: Instant,
    #[serde(default, with = "optional_time")]
    started_at: Option<Instant>,
    #[serde(default, with = "optional_time")]
    ended_at: Option<Instant>,
    #[serde(with = "time")]
    changed_at: Instant,
    report: Report,
    rate: Option<f64>,
    #[serde(rename = "time_left_ms", default, with = "optional_ms")]
    time_left: Option<Duration>,
    step: Option<StepInfo>,
    state: JobState,
    #[serde(default, with = "optional_text")]
    error: Option<Arc<str>>,
}

/// Names the reasons, which are tuple fields in the enum.
#[derive(Serialize, Deserialize)]
#[serde(rename = "JobState", tag = "type", rename_all = "snake_case")]
enum JobStateForm {
    Waiting,
    Joined,
    Running,
    Backoff,
    Succeeded,
    Failed { cause: FailureCause },
    Cancelled { reason: CancelReason },
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Waiting => JobStateForm::Waiting,
            Self::Joined => JobStateForm::Joined,
            Self::Running => JobStateForm::Running,
            Self::Backoff => JobStateForm::Backoff,
            Self::Succeeded => JobStateForm::Succeeded,
            Self::Failed(cause) => JobStateForm::Failed { cause: *cause },
            Self::Cancelled(reason) => JobStateForm::Cancelled {
                reason: reason.clone(),
            },
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for JobState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match JobStateForm::deserialize(from)? {
            JobStateForm::Waiting => Self::Waiting,
            JobStateForm::Joined => Self::Joined,
            JobStateForm::Running => Self::Running,
            JobStateForm::Backoff => Self::Backoff,
            JobStateForm::Succeeded => Self::Succeeded,
            JobStateForm::Failed { cause } => Self::Failed(cause),
            JobStateForm::Cancelled { reason } => Self::Cancelled(reason),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BoardSnapshot")]
struct BoardSnapshotForm {
    running: Vec<JobView>,
    history: Vec<JobView>,
}

is_its_form! {
    JobView => JobViewForm,
    BoardSnapshot => BoardSnapshotForm,
}
