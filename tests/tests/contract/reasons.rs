//! Why a layer stopped a call, and the ways in which a stack says so.

use std::{error::Error, sync::Arc};

use tower_keep::{
    BoxError, cancel::Cancelled, circuit_breaker::Open, dedup::Duplicate, find, timeout::Elapsed,
};

/// Why a layer stopped a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    TimedOut,
    Open,
    Duplicate,
    Cancelled,
}

/// The user's own error.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("stopped: {0:?}")]
    Stopped(Why),
    #[error("{0}")]
    Other(Arc<str>),
}

impl From<BoxError> for AppError {
    fn from(error: BoxError) -> Self {
        why(&*error).map_or_else(|| Self::Other(error.to_string().into()), Self::Stopped)
    }
}

pub(crate) fn why(error: &(dyn Error + 'static)) -> Option<Why> {
    match find::<AppError>(error) {
        Some(AppError::Stopped(why)) => Some(*why),
        _ if find::<Elapsed>(error).is_some() => Some(Why::TimedOut),
        _ if find::<Open>(error).is_some() => Some(Why::Open),
        _ if find::<Duplicate>(error).is_some() => Some(Why::Duplicate),
        _ if find::<Cancelled>(error).is_some() => Some(Why::Cancelled),
        _ => None,
    }
}

/// Why a layer stopped the call, however it says so; `None` if none did.
pub(crate) fn stopped(result: &Result<u32, BoxError>) -> Option<Why> {
    match result {
        Ok(answer) => [Why::TimedOut, Why::Open, Why::Duplicate, Why::Cancelled]
            .into_iter()
            .find(|why| response(*why) == *answer),
        Err(error) => why(&**error),
    }
}

/// The response that stands for a stop.
pub(crate) fn response(why: Why) -> u32 {
    9_000 + why as u32
}
