//! Why an attempt cannot send a body: `Superseded`, `NotReplayable`.

/// A newer attempt now sends this request body, so this attempt stops.
///
/// It occurs in an attempt that still sends its body while the next one begins: the server
/// responded early, or a limit ended the wait for the response. The transport that sends the body
/// gets the error. The caller does not, because the response of the older attempt is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer attempt sends this request body")]
#[non_exhaustive]
pub struct Superseded {}

/// An earlier attempt sent a part of this request body, and the part was not kept: the body is
/// larger than the cap, or failed.
///
/// A retry avoids this error if it first asks [`is_replayable`](super::ReplayBody::is_replayable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body cannot be repeated: it is too large to be kept, or it failed")]
#[non_exhaustive]
pub struct NotReplayable {}
