//! `Left`: what is left of a followed body.

use bytes::Buf;
use http_body::{Body, Frame};

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

    /// Takes this frame off. Returns whether nothing follows it: not every reader polls a body to
    /// `None`.
    ///
    /// After its whole length a body may still fail or stall, as HTTP/2 sends the end separately. So
    /// only the body itself says that it has ended.
    #[inline]
    pub(super) fn is_last<B: Body>(&mut self, frame: &Frame<B::Data>, body: Option<&B>) -> bool {
        if let Some(data) = frame.data_ref() {
            if self.0 < Self::TRAILERS.0 {
                // A longer body proves that its declared length was wrong.
                let left = self.0.checked_sub(data.remaining() as u64);
                *self = left.map_or(Self::UNKNOWN, Self);
            }
        }
        if frame.is_trailers() || body.is_none_or(B::is_end_stream) {
            return true;
        }
        if *self == Self::UNKNOWN && body.is_some_and(|body| body.size_hint().exact() == Some(0)) {
            *self = Self(0);
        }
        false
    }

    /// Whether the whole length was read. A reader that drops the body now has all of it.
    #[inline]
    pub(super) fn is_nothing(self) -> bool {
        self.0 == 0
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
