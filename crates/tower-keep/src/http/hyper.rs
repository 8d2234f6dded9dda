//! The errors of hyper 1, hyper-util 0.1 and h2 0.4.

use std::error::Error;

use h2::Reason;
use hyper_util::client::legacy;

use super::error_kind::ErrorKind;

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
    // Canceled: the connection closed before it took the request.
    if error.is_canceled() {
        return Some(ErrorKind::NeverSent);
    }
    if error.is_timeout() {
        return Some(ErrorKind::PossiblyProcessed);
    }
    // The request is invalid. With a source, its body failed after the head was sent. The source
    // comes from the user, and says nothing about this connection.
    if error.is_user() {
        return Some(match error.source() {
            None => ErrorKind::Permanent,
            Some(_) => ErrorKind::PossiblyProcessed,
        });
    }
    None
}

fn of_h2(error: &h2::Error) -> ErrorKind {
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
