//! [`Reply`]: what the origin does with one request.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    ErrorCode,
    answer::{Afterwards, Answer, Framing},
};
use crate::Gate;

/// What an [`Origin`](super::Origin) does with one request: an answer, perhaps a broken one, or a
/// fault in its place.
///
/// A reply begins when the request is complete, or with [`early`](Self::early) when its head is
/// complete. First it waits for its [gate](Self::when) and its [delay](Self::after).
///
/// Some faults exist in one version of HTTP only. In the other version the origin does what comes
/// closest; each constructor and setter says what. The [module](super) has a table of all faults.
///
/// ```
/// use tower_keep_test::{http::Reply, secs};
///
/// let script = [
///     Reply::status(503).header("retry-after", "2").after(secs(1)),
///     Reply::status(200).body("0123456789").truncate_after(4),
/// ];
/// ```
#[derive(Clone)]
#[must_use]
pub struct Reply {
    pub(super) gate: Option<Gate>,
    pub(super) delay: Duration,
    pub(super) early: bool,
    pub(super) act: Act,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Answer(Box<Answer>),
    Close,
    Reset,
    Hang,
    Garbage,
    Upgrade { protocol: HeaderValue, bytes: Bytes },
    RstStream(ErrorCode),
    GoAway { code: ErrorCode, processed: bool },
}

/// What to do with the request, without an answer.
impl Reply {
    fn new(act: Act) -> Self {
        Self {
            gate: None,
            delay: Duration::ZERO,
            early: false,
            act,
        }
    }

    /// Answers with this status and an empty body.
    ///
    /// # Panics
    ///
    /// If `status` is not a final status, 200 to 999. For 1xx see
    /// [`informational`](Self::informational) and [`upgrade`](Self::upgrade).
    #[track_caller]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(|status| !status.is_informational())
            .unwrap_or_else(|| panic!("{status} is not a final status: use 200 to 999"));
        Self::new(Act::Answer(Box::new(Answer::new(status))))
    }

    /// Closes the connection without an answer.
    ///
    /// In HTTP/2 all streams of the connection end, without a GOAWAY.
    pub fn close() -> Self {
        Self::new(Act::Close)
    }

    /// Resets the connection (TCP RST) without an answer. In HTTP/2 all streams of the connection
    /// end.
    pub fn reset() -> Self {
        Self::new(Act::Reset)
    }

    /// Never answers, until the client gives up. The connection stays open.
    pub fn hang() -> Self {
        Self::new(Act::Hang)
    }

    /// Sends bytes that are not HTTP, then closes the connection.
    ///
    /// In HTTP/2 they are a frame larger than the client allows.
    pub fn garbage() -> Self {
        Self::new(Act::Garbage)
    }

    /// Switches to `protocol` with status 101, sends `bytes`, and holds the connection open until
    /// the client closes it.
    ///
    /// HTTP/2 has no 101: there the stream is reset with [`ErrorCode::HTTP_1_1_REQUIRED`].
    ///
    /// # Panics
    ///
    /// If `protocol` is not a valid header value.
    #[track_caller]
    pub fn upgrade(protocol: &str, bytes: impl Into<Bytes>) -> Self {
        let protocol = protocol.parse().expect("the protocol is a header value");
        Self::new(Act::Upgrade {
            protocol,
            bytes: bytes.into(),
        })
    }

    /// HTTP/2: resets the stream with [`ErrorCode::REFUSED_STREAM`]. The request was not processed.
    ///
    /// HTTP/1.1 cannot say that: there the connection closes without an answer.
    pub fn refused_stream() -> Self {
        Self::rst_stream(ErrorCode::REFUSED_STREAM)
    }

    /// HTTP/2: resets the stream (RST_STREAM) without an answer. Other streams go on.
    ///
    /// In HTTP/1.1 the connection is its only stream and closes without an answer.
    pub fn rst_stream(code: ErrorCode) -> Self {
        Self::new(Act::RstStream(code))
    }

    /// HTTP/2: sends a GOAWAY whose last stream is below this request, so that this request and all
    /// later ones were not processed. Earlier requests are answered, then the connection closes.
    ///
    /// In HTTP/1.1 the connection closes without an answer.
    pub fn go_away(code: ErrorCode) -> Self {
        Self::new(Act::GoAway {
            code,
            processed: false,
        })
    }

    /// HTTP/2: sends a GOAWAY whose last stream is this request, and no answer. Earlier requests
    /// are answered, then the connection closes. The request may have been processed.
    ///
    /// In HTTP/1.1 the connection closes without an answer.
    pub fn go_away_processed(code: ErrorCode) -> Self {
        Self::new(Act::GoAway {
            code,
            processed: true,
        })
    }

    /// Whether the reply tells the client that the request was not processed.
    pub(super) fn denies_processing(&self) -> bool {
        match self.act {
            Act::RstStream(code) => code == ErrorCode::REFUSED_STREAM,
            Act::GoAway { processed, .. } => !processed,
            _ => false,
        }
    }
}

/// When.
impl Reply {
    /// Waits this long before the head, or before the fault. With a [gate](Self::when), the delay
    /// starts when the gate opens.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits until the test opens this gate.
    pub fn when(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Begins as soon as the head of the request arrived, without waiting for its body.
    ///
    /// After an answer, HTTP/1.1 reads the rest of the request, so that the connection can be used
    /// again. HTTP/2 reads it meanwhile. The request gets no `100 Continue`.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }
}

/// The answer. All these setters panic if the reply gives no answer.
impl Reply {
    #[track_caller]
    pub(super) fn answer(&mut self) -> &mut Answer {
        match &mut self.act {
            Act::Answer(answer) => answer,
            act => panic!("this reply has no answer to change: it is {act:?}"),
        }
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If the name or the value is invalid, or if the origin sets the header itself. Use
    /// [`content_length`](Self::content_length), [`chunked`](Self::chunked) and
    /// [`close_connection`](Self::close_connection) for those.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = parsed(name, value.as_ref());
        match name {
            header::CONTENT_LENGTH => panic!("use `content_length` in place of a header"),
            header::TRANSFER_ENCODING => panic!("use `chunked` in place of a header"),
            header::CONNECTION => panic!("use `close_connection` in place of a header"),
            _ => {}
        }
        self.answer().headers.append(name, value);
        self
    }

    /// Sets the body. A `HEAD` request and the statuses 204 and 304 get none.
    #[track_caller]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.answer().body = body.into();
        self
    }

    /// Adds a trailer, after the body. HTTP/1.1 then sends the body in chunks.
    ///
    /// # Panics
    ///
    /// If the name or the value is invalid, or with a length or a close-delimited body.
    #[track_caller]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = parsed(name, value.as_ref());
        let answer = self.answer();
        answer
            .trailers
            .get_or_insert_with(HeaderMap::new)
            .append(name, value);
        answer.frame(Framing::Chunked);
        self
    }

    /// Sends an informational (1xx) answer first. May be set several times. It is sent after the
    /// delay.
    ///
    /// # Panics
    ///
    /// If `status` is not 1xx, or is 101: see [`upgrade`](Self::upgrade).
    #[track_caller]
    pub fn informational(mut self, status: u16) -> Self {
        assert!(
            (100..200).contains(&status) && status != 101,
            "{status} is not informational: use 1xx, and `upgrade` for 101",
        );
        self.answer().informational.push(status);
        self
    }

    /// Closes the connection after `bytes` bytes of the head: inside the status line or the
    /// headers. The limit is one byte less than the head.
    ///
    /// In HTTP/2 these are bytes of a HEADERS frame with the status alone, 14 bytes long.
    #[track_caller]
    pub fn close_after_head_bytes(mut self, bytes: usize) -> Self {
        self.answer().head_cut = Some(bytes);
        self
    }

    /// Announces that the connection ends, and closes it after the answer.
    ///
    /// HTTP/1.1 sends `connection: close`, HTTP/2 a GOAWAY with [`ErrorCode::NO_ERROR`].
    #[track_caller]
    pub fn close_connection(mut self) -> Self {
        self.answer().afterwards = Afterwards::AnnouncedClose;
        self
    }

    /// Closes the connection without announcement, this long after the answer: the client takes
    /// it for reusable.
    #[track_caller]
    pub fn close_idle_after(mut self, idle: Duration) -> Self {
        self.answer().afterwards = Afterwards::IdleClose(idle);
        self
    }

    /// Closes the connection without announcement when the next request arrives on it. The origin
    /// neither reads nor records that request.
    ///
    /// This is the race of keep-alive connections: the client sends while the server closes.
    #[track_caller]
    pub fn close_on_reuse(mut self) -> Self {
        self.answer().afterwards = Afterwards::CloseOnReuse;
        self
    }
}

#[track_caller]
fn parsed(name: &str, value: &[u8]) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_bytes(name.as_bytes())
        .unwrap_or_else(|_| panic!("{name:?} is not a header name"));
    let value = HeaderValue::from_bytes(value)
        .unwrap_or_else(|_| panic!("the value of {name} is not a header value"));
    (name, value)
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reply");
        debug.field("act", &self.act);
        if let Some(gate) = &self.gate {
            debug.field("gate_open", &gate.is_open());
        }
        if !self.delay.is_zero() {
            debug.field("after", &self.delay);
        }
        debug.field("early", &self.early).finish()
    }
}
