//! Serialization of reasons, causes and outcomes.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::text;
use crate::event::{AttemptOutcome, CancelReason, FailureCause, GiveUpReason, LimitScope};

/// Names the text, which is a tuple field in the enum.
#[derive(Serialize, Deserialize)]
#[serde(rename = "CancelReason", tag = "type", rename_all = "snake_case")]
enum CancelReasonForm {
    Requested,
    Replaced,
    TimedOut,
    Shutdown,
    CallerGone,
    Other {
        #[serde(with = "text")]
        text: Arc<str>,
    },
}

impl Serialize for CancelReason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Requested => CancelReasonForm::Requested,
            Self::Replaced => CancelReasonForm::Replaced,
            Self::TimedOut => CancelReasonForm::TimedOut,
            Self::Shutdown => CancelReasonForm::Shutdown,
            Self::CallerGone => CancelReasonForm::CallerGone,
            Self::Other(text) => CancelReasonForm::Other {
                text: Arc::clone(text),
            },
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for CancelReason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match CancelReasonForm::deserialize(from)? {
            CancelReasonForm::Requested => Self::Requested,
            CancelReasonForm::Replaced => Self::Replaced,
            CancelReasonForm::TimedOut => Self::TimedOut,
            CancelReasonForm::Shutdown => Self::Shutdown,
            CancelReasonForm::CallerGone => Self::CallerGone,
            CancelReasonForm::Other { text } => Self::Other(text),
        })
    }
}

/// Names the cause, which is a tuple field in the enum.
#[derive(Serialize, Deserialize)]
#[serde(rename = "AttemptOutcome", tag = "type", rename_all = "snake_case")]
enum AttemptOutcomeForm {
    Succeeded,
    Failed { cause: FailureCause },
    Cancelled,
}

impl Serialize for AttemptOutcome {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Succeeded => AttemptOutcomeForm::Succeeded,
            Self::Failed(cause) => AttemptOutcomeForm::Failed { cause: *cause },
            Self::Cancelled => AttemptOutcomeForm::Cancelled,
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for AttemptOutcome {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match AttemptOutcomeForm::deserialize(from)? {
            AttemptOutcomeForm::Succeeded => Self::Succeeded,
            AttemptOutcomeForm::Failed { cause } => Self::Failed(cause),
            AttemptOutcomeForm::Cancelled => Self::Cancelled,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FailureCause", rename_all = "snake_case")]
enum FailureCauseForm {
    Error,
    TimedOut,
    CircuitOpen,
    Duplicate,
    Panicked,
    Rejected,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "GiveUpReason", rename_all = "snake_case")]
enum GiveUpReasonForm {
    Exhausted,
    Budget,
    Deadline,
    TotalTime,
    NotRepeatable,
    Forbidden,
    AskedTooLong,
    NotRetryable,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "LimitScope", tag = "type", rename_all = "snake_case")]
enum LimitScopeForm {
    Overall,
    Attempt,
    Idle,
    Step {
        #[serde(with = "text")]
        name: Arc<str>,
    },
}

impl Serialize for LimitScope {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Overall => LimitScopeForm::Overall,
            Self::Attempt => LimitScopeForm::Attempt,
            Self::Idle => LimitScopeForm::Idle,
            Self::Step(name) => LimitScopeForm::Step {
                name: Arc::clone(name),
            },
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for LimitScope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match LimitScopeForm::deserialize(from)? {
            LimitScopeForm::Overall => Self::Overall,
            LimitScopeForm::Attempt => Self::Attempt,
            LimitScopeForm::Idle => Self::Idle,
            LimitScopeForm::Step { name } => Self::Step(name),
        })
    }
}

is_its_form! {
    FailureCause => FailureCauseForm,
    GiveUpReason => GiveUpReasonForm,
}
