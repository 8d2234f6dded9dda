//! The errors of hyper 1, hyper-util 0.1 and h2 0.4.

use std::error::Error;

use h2::Reason;
use hyper_util::client::legacy;

use super::{error_kind::ErrorKind, replay::NotReplayable};
use crate::error::find;

/// The kind of an error of one of these crates, if this error decides without its sources.
pub(super) fn kind_of(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    if let Some(error) = error.downcast_ref::<legacy::Error>() {
        return of_legacy(error);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return of_hyper(error);
    }
    error.downcast_ref::<h2::Error>().map(of_h2)
}

fn of_legacy(error: &legacy::Error) -> Option<ErrorKind> {
    if error.is_connect() {
        return Some(ErrorKind::NeverSent);
    }
    // Without a source, the client refused the request: its method, version or URI.
    error.source().is_none().then_some(ErrorKind::Permanent)
}

fn of_hyper(error: &hyper::Error) -> Option<ErrorKind> {
    // Canceled, closed: the connection ended before it took the request.
    if error.is_canceled() || error.is_closed() {
        return Some(ErrorKind::NeverSent);
    }
    if error.is_timeout() {
        return Some(ErrorKind::PossiblyProcessed);
    }
    let Some(source) = error.source() else {
        // The request is invalid.
        return error.is_user().then_some(ErrorKind::Permanent);
    };
    // The body of the request failed, whatever failed there.
    if error.is_user() {
        return Some(match find::<NotReplayable>(source) {
            Some(_) => ErrorKind::Permanent,
            None => ErrorKind::RequestBody,
        });
    }
    if is_of_response_body(error) {
        return Some(ErrorKind::BodyTruncated);
    }
    match ErrorKind::of(source) {
        // An established connection may end with the `io::Error` of a failed connect.
        ErrorKind::NeverSent if find::<h2::Error>(source).is_none() => {
            Some(ErrorKind::PossiblyProcessed)
        }
        kind => Some(kind),
    }
}

/// Whether the response had begun. hyper has no method for it.
fn is_of_response_body(error: &hyper::Error) -> bool {
    error.to_string() == "error reading a body from connection"
}

fn of_h2(error: &h2::Error) -> ErrorKind {
    // The client resets a stream whose request body fails.
    if error.is_reset() && !error.is_remote() && !error.is_library() {
        return ErrorKind::RequestBody;
    }
    let is_unprocessed = match error.reason() {
        Some(Reason::REFUSED_STREAM) => error.is_reset(),
        // Streams that the server still processes go on: only the others end with this error.
        Some(Reason::NO_ERROR) => error.is_go_away(),
        _ => false,
    };
    if is_unprocessed && error.is_remote() {
        ErrorKind::NeverSent
    } else {
        ErrorKind::PossiblyProcessed
    }
}
