//! What can go wrong: one flat type for the service and for every layer that stops a call.

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;
use tower_keep::{
    cancel::Cancelled, circuit_breaker::Open, dedup::Duplicate, describe_error, timeout::Elapsed,
};

use crate::human::Took;

/// Why a URL was not fetched. `Clone`, so that joined calls can share it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the server answered {status}")]
    Status {
        status: StatusCode,
        /// How long the server asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The client's own message says little: what happened is in its sources.
    #[error("{}", describe_error(&**.0))]
    Http(Arc<reqwest::Error>),
    #[error("cannot write {0}")]
    Disk(Arc<str>),
    #[error("{} time limit of {} expired", .0.scope(), Took(.0.limit()))]
    Timeout(Elapsed),
    #[error("{}", open(.0))]
    Open(Open),
    #[error("{0}")]
    Cancelled(Cancelled),
    #[error("{0}")]
    Duplicate(Duplicate),
}

impl FetchError {
    /// In a few words, for the table; the whole error stands in the lines above it.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Status { status, .. } => return status.to_string(),
            Self::Http(error) if error.is_connect() => "no connection",
            Self::Http(error) if error.is_timeout() => "no answer",
            Self::Http(error) if error.is_decode() => "body cut off",
            Self::Http(_) => "request failed",
            Self::Disk(_) => "cannot write",
            Self::Timeout(_) => "timed out",
            Self::Open(_) => "circuit open",
            Self::Cancelled(_) => "cancelled",
            Self::Duplicate(_) => "panicked",
        }
        .to_owned()
    }
}

fn open(open: &Open) -> String {
    match open.remaining() {
        Some(remaining) => format!(
            "the circuit of {} is open for another {}",
            open.circuit(),
            Took(remaining)
        ),
        None => format!("the circuit of {} is open", open.circuit()),
    }
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        // The job's name says which URL it is, and a URL may hold a password.
        Self::Http(Arc::new(error.without_url()))
    }
}
