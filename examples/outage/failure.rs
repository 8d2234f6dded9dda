//! What a call can fail with.

use tower_keep::{circuit_breaker::Open, timeout::Elapsed};

/// From the backend, or from a layer that stopped the call.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the backend is down")]
    Down,
    #[error("the backend's queue is full")]
    Full,
    #[error("the backend broke off")]
    Broken,
    #[error(transparent)]
    Late(Elapsed),
    #[error(transparent)]
    Open(Open),
}
