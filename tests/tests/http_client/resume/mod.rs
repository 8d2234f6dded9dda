//! A download that breaks off goes on with range requests.

mod answers;
mod attempts;
mod bodies;
mod downloads;
mod events;
mod file_server;
mod first_responses;
mod properties;
mod redirects;
mod stacks;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Service, ServiceExt};
use tower_keep::{
    BoxError, find,
    http::resume::{NotResumed, NotResumedReason},
};

/// The representation of most tests.
pub(super) const CONTENT: &str = "0123456789";

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Done,
    Error(io::ErrorKind),
    /// It never ends.
    Stalls,
}

/// What the end of a cut connection looks like.
pub(super) const CUT: End = End::Error(io::ErrorKind::UnexpectedEof);

/// A body of frames.
#[derive(Debug)]
pub(super) struct Part {
    frames: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    end: End,
    left: Option<u64>,
    is_over: bool,
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(data) = self.frames.pop_front() {
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(data.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match self.end {
            End::Done => {
                self.is_over = true;
                Poll::Ready(None)
            }
            End::Error(kind) => {
                self.end = End::Done;
                self.is_over = true;
                Poll::Ready(Some(Err(kind.into())))
            }
            End::Stalls => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        let ends = self.end == End::Done && self.frames.is_empty() && self.trailers.is_none();
        self.is_over || (ends && self.left == Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    end: End,
    exact: Option<u64>,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: None,
            end: End::Done,
            exact: None,
        }
    }

    /// 200 with the whole representation, its length and a strong entity tag.
    pub(super) fn whole(content: &str) -> Self {
        Self::status(200)
            .header("content-length", content.len())
            .header("etag", "\"v1\"")
            .body(content)
    }

    /// 206 with the bytes of the representation from `first` on.
    pub(super) fn rest(content: &str, first: usize) -> Self {
        let range = format!("bytes {first}-{}/{}", content.len() - 1, content.len());
        Self::status(206)
            .header("content-range", range)
            .header("content-length", content.len() - first)
            .header("etag", "\"v1\"")
            .body(&content[first..])
    }

    /// Sets a header. It replaces one of this name.
    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        let value = HeaderValue::from_str(&value.to_string()).unwrap();
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(super) fn body(self, body: &str) -> Self {
        self.bytes(body.as_bytes())
    }

    /// In frames of three bytes.
    pub(super) fn bytes(mut self, body: &[u8]) -> Self {
        self.body = body.chunks(3).map(Bytes::copy_from_slice).collect();
        self
    }

    /// The body knows its length.
    pub(super) fn exact(mut self, length: usize) -> Self {
        self.exact = Some(length as u64);
        self
    }

    pub(super) fn trailers(mut self) -> Self {
        self.trailers = Some(HeaderMap::from_iter([(
            HeaderName::from_static("checksum"),
            HeaderValue::from_static("1"),
        )]));
        self
    }

    /// The body ends in this way after `bytes` bytes.
    pub(super) fn ends_after(mut self, bytes: usize, end: End) -> Self {
        let body = self.body.concat();
        self.end = end;
        self.trailers = None;
        self.bytes(&body[..bytes])
    }

    /// The connection is cut after `bytes` bytes.
    pub(super) fn cut_after(self, bytes: usize) -> Self {
        self.ends_after(bytes, CUT)
    }

    fn response(self) -> Response<Part> {
        let mut response = Response::new(Part {
            frames: self.body.into(),
            trailers: self.trailers,
            end: self.end,
            left: self.exact,
            is_over: false,
        });
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        *response.headers_mut() = self.headers;
        response
    }
}

/// What arrived at the server.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) at: Duration,
    pub(super) headers: HeaderMap,
}

impl Arrived {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server that plays a script of answers. An error is one of the connection.
#[derive(Clone)]
pub(super) struct Server {
    script: Arc<Mutex<VecDeque<Result<Answer, io::ErrorKind>>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    began: Instant,
}

impl Server {
    pub(super) fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_errors(script.into_iter().map(Ok))
    }

    pub(super) fn with_errors(
        script: impl IntoIterator<Item = Result<Answer, io::ErrorKind>>,
    ) -> Self {
        Self {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            arrived: Arc::default(),
            began: Instant::now(),
        }
    }

    /// Further answers.
    pub(super) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script
            .lock()
            .unwrap()
            .extend(answers.into_iter().map(Ok));
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// The `Range` of each request. Empty: it had none.
    pub(super) fn ranges(&self) -> Vec<String> {
        let range = |request: &Arrived| request.header("range").unwrap_or_default().to_owned();
        self.arrived().iter().map(range).collect()
    }

    /// When the requests arrived, in milliseconds.
    pub(super) fn moments(&self) -> Vec<u128> {
        self.arrived()
            .iter()
            .map(|request| request.at.as_millis())
            .collect()
    }

    pub(super) fn client(
        &self,
    ) -> impl Service<
        Request<String>,
        Response = Response<Part>,
        Error = BoxError,
        Future: Send + 'static,
    >
    + Clone
    + Send
    + Sync
    + 'static
    + use<> {
        let server = self.clone();
        tower::service_fn(move |request: Request<String>| {
            let arrived = Arrived {
                at: server.began.elapsed(),
                headers: request.headers().clone(),
            };
            server.arrived.lock().unwrap().push(arrived);
            let answer = server.script.lock().unwrap().pop_front();
            let answer = answer.expect("an answer for each request");
            async move {
                match answer {
                    Ok(answer) => Ok(answer.response()),
                    Err(kind) => Err(BoxError::from(io::Error::from(kind))),
                }
            }
        })
    }
}

pub(super) fn get() -> Request<String> {
    Request::get("http://example.com/file")
        .body(String::new())
        .unwrap()
}

/// What the reader of a body got: the bytes, then the end or an error.
pub(super) struct Download {
    pub(super) bytes: Vec<u8>,
    /// The same, if it is text.
    pub(super) text: String,
    pub(super) trailers: bool,
    pub(super) result: Result<(), BoxError>,
}

impl Download {
    #[track_caller]
    pub(super) fn is_whole(&self) {
        self.is(CONTENT);
    }

    #[track_caller]
    pub(super) fn is(&self, content: &str) {
        self.result.as_ref().unwrap();
        assert_eq!(self.text, content);
    }

    /// The body ended with the server's own error after these bytes.
    #[track_caller]
    pub(super) fn is_unchanged(&self, content: &str) {
        let error = self.result.as_ref().unwrap_err();
        assert!(find::<NotResumed>(&**error).is_none(), "{error:?}");
        assert!(find::<io::Error>(&**error).is_some(), "{error:?}");
        assert_eq!(self.text, content);
    }

    /// The body was not resumed after these bytes.
    #[track_caller]
    pub(super) fn is_not_resumed(&self, content: &str, reason: NotResumedReason) -> &NotResumed {
        assert_eq!(self.text, content);
        let error = self.result.as_ref().unwrap_err();
        let error = find::<NotResumed>(&**error).unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(error.reason(), reason);
        assert_eq!(error.delivered(), content.len() as u64);
        error
    }
}

/// Sends the request and reads the body.
pub(super) async fn download<S, B>(client: S, request: Request<String>) -> Download
where
    S: Service<Request<String>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let response = client.oneshot(request).await.unwrap();
    read(response.into_body()).await
}

/// Reads the body, and checks what it says of itself.
pub(super) async fn read<B>(body: B) -> Download
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut trailers) = (BytesMut::new(), false);
    let result = loop {
        let before = body.size_hint();
        let ended = body.is_end_stream();
        match body.frame().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(error.into()),
            Some(Ok(frame)) => {
                assert!(!ended, "nothing follows the end");
                match frame.into_data() {
                    Ok(data) => {
                        if let Some(left) = before.exact() {
                            assert_eq!(
                                body.size_hint().exact(),
                                Some(left.saturating_sub(data.len() as u64))
                            );
                        }
                        bytes.extend_from_slice(&data);
                    }
                    Err(_) => trailers = true,
                }
            }
        }
    };
    assert!(body.frame().await.is_none(), "nothing follows the end");
    assert!(body.is_end_stream());
    Download {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        bytes: bytes.to_vec(),
        trailers,
        result,
    }
}
