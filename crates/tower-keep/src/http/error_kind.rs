//! `ErrorKind`: what an error of an HTTP client says about its request.

use std::{any::Any, error::Error, io};

use http::StatusCode;

use super::replay::NotReplayable;
use crate::error::{BoxError, cause_of};

/// What an error of an HTTP client says about its request.
///
/// | kind | repeat it? | a circuit counts it |
/// |---|---|---|
/// | [`NeverSent`](Self::NeverSent) | every method | yes |
/// | [`PossiblyProcessed`](Self::PossiblyProcessed), [`BodyTruncated`](Self::BodyTruncated), [`BodyStalled`](Self::BodyStalled) | only idempotent methods | yes |
/// | [`Permanent`](Self::Permanent) | no | no |
///
/// ```
/// use std::io;
/// use tower_keep::http::ErrorKind;
///
/// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
/// assert_eq!(ErrorKind::of(&refused), ErrorKind::NeverSent);
/// let reset = io::Error::from(io::ErrorKind::ConnectionReset);
/// assert_eq!(ErrorKind::of(&reset), ErrorKind::PossiblyProcessed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server did not process the request, so every method may be repeated.
    ///
    /// The connection failed, or HTTP/2 says so: `REFUSED_STREAM`, or a graceful `GOAWAY` that
    /// leaves the stream out ([RFC 9113, section
    /// 8.7](https://www.rfc-editor.org/rfc/rfc9113.html#section-8.7)).
    NeverSent,
    /// The server may have processed the request: repeat only idempotent methods ([RFC 9110,
    /// section 9.2.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.2.2)). Also the kind of
    /// every unknown error.
    PossiblyProcessed,
    /// The response body ended early ([RFC 9112, section
    /// 8](https://www.rfc-editor.org/rfc/rfc9112.html#section-8)).
    BodyTruncated,
    /// The response body did not arrive in time.
    BodyStalled,
    /// Another attempt would fail in the same way: the request is invalid, there are too many
    /// redirects, or the body cannot be sent again. It says nothing about the server.
    Permanent,
}

impl ErrorKind {
    /// The kind of this error, by the first of its sources that is known.
    ///
    /// Known are `io::Error`; with the feature `hyper-1` the errors of hyper 1, hyper-util 0.1 and
    /// h2 0.4; with the feature `reqwest-0-13` those of reqwest 0.13.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(kind) = of_known(error) {
                return kind;
            }
            next = cause_of(error);
        }
        Self::PossiblyProcessed
    }
}

/// The kind of an error whose type is known and decides, without its sources.
fn of_known(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    // No later attempt can send the body either.
    if error.is::<NotReplayable>() {
        return Some(ErrorKind::Permanent);
    }
    #[cfg(feature = "hyper-1")]
    if let Some(kind) = super::hyper::kind_of(error) {
        return Some(kind);
    }
    #[cfg(feature = "reqwest-0-13")]
    if let Some(kind) = super::reqwest::kind_of(error) {
        return Some(kind);
    }
    None
}

fn of_io(error: &io::Error) -> Option<ErrorKind> {
    match error.kind() {
        // Usually only `connect` fails in these ways. An unreachable host or network may also end an
        // established connection.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable => {
            Some(ErrorKind::NeverSent)
        }
        io::ErrorKind::UnexpectedEof => Some(ErrorKind::BodyTruncated),
        // The wrapped error may say more.
        _ => None,
    }
}

/// The status of an error that was made from a response, as reqwest's `error_for_status` does.
pub(super) fn status_of(error: &(dyn Error + 'static)) -> Option<StatusCode> {
    #[cfg(feature = "reqwest-0-13")]
    {
        crate::error::find::<reqwest::Error>(error)?.status()
    }
    #[cfg(not(feature = "reqwest-0-13"))]
    {
        let _ = error;
        None
    }
}

/// An error of any type as `dyn Error`, if its type is known here: a box, or a client's own error.
///
/// A generic error cannot be converted, because `BoxError` is no `Error`.
pub(super) fn as_error<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    let any: &dyn Any = error;
    macro_rules! known {
        ($($known:ty),*) => {$(
            if let Some(error) = any.downcast_ref::<$known>() {
                return Some(error);
            }
        )*};
    }
    if let Some(error) = any.downcast_ref::<BoxError>() {
        return Some(&**error);
    }
    if let Some(error) = any.downcast_ref::<Box<dyn Error + Send>>() {
        return Some(&**error);
    }
    if let Some(error) = any.downcast_ref::<Box<dyn Error>>() {
        return Some(&**error);
    }
    known!(
        io::Error,
        http::Error,
        crate::job::Elapsed,
        crate::job::Cancelled
    );
    #[cfg(feature = "hyper-1")]
    known!(hyper_util::client::legacy::Error, hyper::Error, h2::Error);
    #[cfg(feature = "reqwest-0-13")]
    known!(reqwest::Error);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] BoxError);

    /// R81 The first known source decides, at any depth, also inside an `io::Error`.
    #[test]
    fn the_first_known_source_decides() {
        let io = |kind| io::Error::new(kind, "text");
        for (error, expected) in [
            (io(io::ErrorKind::ConnectionRefused), ErrorKind::NeverSent),
            (io(io::ErrorKind::AddrNotAvailable), ErrorKind::NeverSent),
            (
                io(io::ErrorKind::HostUnreachable),
                ErrorKind::PossiblyProcessed,
            ),
            (
                io(io::ErrorKind::NetworkUnreachable),
                ErrorKind::PossiblyProcessed,
            ),
            (
                io(io::ErrorKind::ConnectionReset),
                ErrorKind::PossiblyProcessed,
            ),
            (io(io::ErrorKind::BrokenPipe), ErrorKind::PossiblyProcessed),
            (io(io::ErrorKind::TimedOut), ErrorKind::PossiblyProcessed),
            (io(io::ErrorKind::UnexpectedEof), ErrorKind::BodyTruncated),
        ] {
            assert_eq!(ErrorKind::of(&error), expected, "{error:?}");
            let boxed: BoxError = Box::new(Outer(Box::new(io::Error::other(error))));
            assert_eq!(ErrorKind::of(&*boxed), expected, "{boxed:?}");
            assert_eq!(ErrorKind::of(as_error(&boxed).unwrap()), expected);
        }
        assert_eq!(
            ErrorKind::of(&Outer("unknown".into())),
            ErrorKind::PossiblyProcessed
        );
    }

    /// Errors of unknown types are not seen through.
    #[test]
    fn only_known_types_are_errors() {
        assert!(as_error(&io::Error::other("text")).is_some());
        assert!(as_error(&BoxError::from("text")).is_some());
        assert!(as_error(&Outer("text".into())).is_none());
        assert!(as_error(&"text").is_none());
    }
}
