//! `Left`: what is left of a followed body.

use bytes::Buf;
use http_body::{Body, Frame};

use super::followed::is_at_end;

/// What is left of a followed body: the rest of a declared length, or trailers that must be seen, or
/// an unknown rest. One word, as a body is moved often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left(u64);

impl Left {
    /// No length was declared.
    pub(super) const UNKNOWN: Self = Self(u64::MAX);

    /// The end of the data is not the end of the body: the trailers have the answer.
    pub(super) const TRAILERS: Self = Self(u64::MAX - 1);

    /// A declared length. The two longest are unknown, as no body is that long.
    pub(super) fn of(length: u64) -> Self {
        match length < Self::TRAILERS.0 {
            true => Self(length),
            false => Self::UNKNOWN,
        }
    }

    /// Whether nothing follows this frame. Not every reader polls a body to `None`.
    #[inline]
    pub(super) fn is_last<B: Body>(&mut self, frame: &Frame<B::Data>, body: Option<&B>) -> bool {
        if let Some(data) = frame.data_ref() {
            if self.0 < Self::TRAILERS.0 {
                self.0 = self.0.saturating_sub(data.remaining() as u64);
            }
        }
        let is_at_end = match *self {
            Self::TRAILERS => B::is_end_stream,
            _ => is_at_end,
        };
        frame.is_trailers() || self.0 == 0 || body.is_none_or(is_at_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_is_a_mark() {
        for length in [0, 1, u64::MAX - 2] {
            assert_eq!(Left::of(length), Left(length));
        }
        for length in [u64::MAX - 1, u64::MAX] {
            assert_eq!(Left::of(length), Left::UNKNOWN);
        }
    }
}
