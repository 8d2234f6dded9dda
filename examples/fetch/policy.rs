//! What is worth another attempt, and what speaks against a host.

use reqwest::StatusCode;
use tower_keep::{
    Outcome,
    retry::{Attempt, Decision},
};

use crate::{download::Done, error::FetchError};

/// The retry's policy: tries again what may have passed by then, and waits as long as the server
/// asks. Each request is a GET, so it may be repeated.
pub(crate) fn if_it_may_pass(result: &Result<Done, FetchError>, _: &Attempt<'_>) -> Decision {
    match result {
        Err(FetchError::Status {
            status,
            retry_after,
        }) if may_pass(*status) => retry_after.map_or(Decision::Retry, Decision::RetryAfter),
        Err(FetchError::Http(error)) if !error.is_builder() && !error.is_redirect() => {
            Decision::Retry
        }
        // Only an attempt's own limit comes this far: the overall one is outside the retry.
        Err(FetchError::Timeout(_)) => Decision::Retry,
        _ => Decision::Stop,
    }
}

/// The statuses by which a server says that it is a matter of time. A plain 500 may be one for
/// ever.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504)
}

/// The circuit's classifier: tells the host's failures from what is not its fault.
pub(crate) fn hosts_fault(result: &Result<Done, FetchError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(FetchError::Http(error)) if error.is_redirect() => Outcome::Ignored,
        Err(FetchError::Http(_) | FetchError::Timeout(_)) => Outcome::Failure,
        Err(FetchError::Status { status, .. }) => match status.as_u16() {
            // Too many requests are our fault; no reason to call the host down or well.
            429 => Outcome::Ignored,
            // It will never do this, and is well otherwise.
            501 | 505 => Outcome::Success,
            500.. => Outcome::Failure,
            // A host that says 404 is up.
            _ => Outcome::Success,
        },
        Err(_) => Outcome::Ignored,
    }
}
