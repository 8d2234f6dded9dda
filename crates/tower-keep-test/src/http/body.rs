//! The body of an answer: its length, its pace, and where it breaks off.

use std::time::Duration;

use super::{
    ErrorCode, Reply,
    answer::{Cut, CutHow, Framing},
};

/// The body of the answer. All these setters panic if the reply gives no answer.
impl Reply {
    /// Sends this `Content-Length`, right or wrong. The default is the length of the body.
    ///
    /// Too large: the body ends early. HTTP/1.1 closes the connection, HTTP/2 ends the stream. Too
    /// small: the rest of the body follows anyway. HTTP/1.1 keeps the connection open, so the rest
    /// looks like the begin of the next answer.
    ///
    /// # Panics
    ///
    /// If the body is chunked or close-delimited.
    #[track_caller]
    pub fn content_length(mut self, length: u64) -> Self {
        self.answer().frame(Framing::Length(Some(length)));
        self
    }

    /// Sends no `Content-Length`. HTTP/1.1 sends the body in chunks.
    ///
    /// # Panics
    ///
    /// If the body has a length or is close-delimited.
    #[track_caller]
    pub fn chunked(mut self) -> Self {
        self.answer().frame(Framing::Chunked);
        self
    }

    /// Sends no `Content-Length`. In HTTP/1.1 the end of the connection is the end of the body. In
    /// HTTP/2 it is as [`chunked`](Self::chunked).
    ///
    /// # Panics
    ///
    /// If the body has a length or is chunked.
    #[track_caller]
    pub fn close_delimited(mut self) -> Self {
        self.answer().frame(Framing::CloseDelimited);
        self
    }

    /// Sends the body in pieces of `size` bytes, and waits for `every` between two of them.
    ///
    /// # Panics
    ///
    /// If `size` is zero.
    #[track_caller]
    pub fn trickle(mut self, size: usize, every: Duration) -> Self {
        assert!(size > 0, "a piece of the body has at least one byte");
        self.answer().pace = Some((size, every));
        self
    }

    /// Pauses once, after `bytes` bytes of the body.
    #[track_caller]
    pub fn pause_after(mut self, bytes: usize, pause: Duration) -> Self {
        self.answer().pause = Some((bytes, pause));
        self
    }

    #[track_caller]
    fn cut(mut self, at: usize, how: CutHow) -> Self {
        self.answer().cut = Some(Cut { at, how });
        self
    }

    /// Ends after `bytes` bytes of the body, without the end of the message. If the body is
    /// shorter, all of it is sent.
    ///
    /// HTTP/1.1 closes the connection. HTTP/2 resets the stream with
    /// [`ErrorCode::INTERNAL_ERROR`], as servers do when a body fails.
    #[track_caller]
    pub fn truncate_after(self, bytes: usize) -> Self {
        self.cut(bytes, CutHow::Truncate)
    }

    /// Sends `bytes` bytes of the body, then nothing more until the client gives up.
    #[track_caller]
    pub fn stall_after(self, bytes: usize) -> Self {
        self.cut(bytes, CutHow::Stall)
    }

    /// Resets the connection (TCP RST) after `bytes` bytes of the body. In HTTP/2 all streams of
    /// the connection end.
    ///
    /// A reset may overtake bytes that the client has not read: it may see fewer.
    #[track_caller]
    pub fn reset_after(self, bytes: usize) -> Self {
        self.cut(bytes, CutHow::Reset)
    }

    /// Closes the connection after `bytes` bytes of the body. In HTTP/2 all streams of the
    /// connection end, without a GOAWAY.
    #[track_caller]
    pub fn close_after(self, bytes: usize) -> Self {
        self.cut(bytes, CutHow::Close)
    }

    /// HTTP/2: resets the stream after `bytes` bytes of the body. Other streams go on. HTTP/1.1
    /// closes the connection.
    #[track_caller]
    pub fn rst_stream_after(self, bytes: usize, code: ErrorCode) -> Self {
        self.cut(bytes, CutHow::RstStream(code))
    }
}
