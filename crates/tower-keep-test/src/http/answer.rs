//! The answer of a reply: its head, the pieces of its body, and how it ends.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::ErrorCode;

#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) informational: Vec<u16>,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) framing: Framing,
    pub(super) pace: Option<(usize, Duration)>,
    pub(super) pause: Option<(usize, Duration)>,
    pub(super) cut: Option<Cut>,
    pub(super) head_cut: Option<usize>,
    pub(super) afterwards: Afterwards,
}

/// How the client learns the length of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `Content-Length`: this, or that of the body.
    Length(Option<u64>),
    Chunked,
    CloseDelimited,
}

/// Where the body breaks off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) at: usize,
    pub(super) how: CutHow,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum CutHow {
    Truncate,
    Stall,
    Close,
    Reset,
    RstStream(ErrorCode),
}

/// What happens to the connection after a complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    KeepAlive,
    AnnouncedClose,
    IdleClose(Duration),
    CloseOnReuse,
}

/// A step of sending the body.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Wait(Duration),
}

impl Answer {
    pub(super) fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            informational: Vec::new(),
            body: Bytes::new(),
            trailers: None,
            framing: Framing::Length(None),
            pace: None,
            pause: None,
            cut: None,
            head_cut: None,
            afterwards: Afterwards::KeepAlive,
        }
    }

    /// Chooses the framing.
    #[track_caller]
    pub(super) fn frame(&mut self, framing: Framing) {
        let same = self.framing == Framing::Length(None)
            || matches!(
                (self.framing, framing),
                (Framing::Length(_), Framing::Length(_))
            );
        assert!(
            same || self.framing == framing,
            "a body has one framing: a length, chunks (also for trailers), or the end of the connection",
        );
        self.framing = framing;
    }

    /// The value of `Content-Length`, if there is one.
    pub(super) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(Some(length)) => Some(length),
            // These statuses have no body, so no length either.
            Framing::Length(None) if self.is_bodiless_status() => None,
            Framing::Length(None) => Some(self.body.len() as u64),
            Framing::Chunked | Framing::CloseDelimited => None,
        }
    }

    fn is_bodiless_status(&self) -> bool {
        matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
    }

    /// Whether this answer has a body. Without one, all faults of the body are without effect.
    pub(super) fn has_body(&self, method: &Method) -> bool {
        method != Method::HEAD && !self.is_bodiless_status()
    }

    /// The bytes of the body up to the cut.
    pub(super) fn sent_length(&self) -> usize {
        self.cut
            .map_or(self.body.len(), |cut| cut.at.min(self.body.len()))
    }

    /// The body up to the cut, with the waits inside it.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let end = self.sent_length();
        let (size, every) = self.pace.unwrap_or((usize::MAX, Duration::ZERO));
        let mut pieces = Vec::new();
        let mut at = 0;
        let mut piece_ends = size;
        loop {
            match self.pause {
                Some((bytes, pause)) if bytes == at => pieces.push(Piece::Wait(pause)),
                _ => {}
            }
            if at >= end {
                return pieces;
            }
            let mut next = piece_ends.min(end);
            if let Some((bytes, _)) = self.pause {
                if at < bytes {
                    next = next.min(bytes);
                }
            }
            pieces.push(Piece::Data(self.body.slice(at..next)));
            if next == piece_ends {
                piece_ends = piece_ends.saturating_add(size);
                if next < end && !every.is_zero() {
                    pieces.push(Piece::Wait(every));
                }
            }
            at = next;
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Answer");
        debug
            .field("status", &self.status)
            .field("headers", &self.headers)
            // A body may be long.
            .field("body_length", &self.body.len())
            .field("framing", &self.framing)
            .field("afterwards", &self.afterwards);
        if !self.informational.is_empty() {
            debug.field("informational", &self.informational);
        }
        if let Some(trailers) = &self.trailers {
            debug.field("trailers", trailers);
        }
        if let Some((size, every)) = &self.pace {
            debug.field("trickle", &(size, every));
        }
        if let Some((bytes, pause)) = &self.pause {
            debug.field("pause_after", &(bytes, pause));
        }
        if let Some(cut) = &self.cut {
            debug.field("cut", cut);
        }
        if let Some(bytes) = &self.head_cut {
            debug.field("close_after_head_bytes", bytes);
        }
        debug.finish()
    }
}
