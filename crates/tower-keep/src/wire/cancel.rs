//! Serialization of Cancel's `Running` and `Shutdown`.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::value::{ms, optional_text};
use crate::{
    cancel::{RunningJob, ShutdownReport},
    event::{CancelReason, JobId, JobName},
};

#[derive(Serialize, Deserialize)]
#[serde(remote = "RunningJob")]
struct RunningJobForm {
    job: JobId,
    name: JobName,
    #[serde(default, with = "optional_text")]
    external_id: Option<Arc<str>>,
    parent: Option<JobId>,
    #[serde(rename = "age_ms", with = "ms")]
    age: Duration,
    attempt: u32,
    cancelled: Option<CancelReason>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "ShutdownReport", default)]
struct ShutdownReportForm {
    finished: usize,
    cancelled: usize,
    cancelled_otherwise: usize,
    refused: usize,
}

is_its_form! {
    RunningJob => RunningJobForm,
    ShutdownReport => ShutdownReportForm,
}
