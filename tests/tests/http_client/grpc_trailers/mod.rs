//! The status of a gRPC call is in the trailers of its response: for the circuit and for the job.

mod stacks;
mod table;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tower::{Service, service_fn};
use tower_keep::BoxError;

const MESSAGE: &str = "message";
const GRPC: &str = "application/grpc+proto";

/// One message, then the trailers. The length of the data may be known.
#[derive(Clone, Default)]
struct Message {
    frames: VecDeque<&'static str>,
    trailers: Option<HeaderMap>,
    is_exact: bool,
}

impl Message {
    fn with_status(status: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        Self {
            frames: [MESSAGE].into(),
            trailers: Some(trailers),
            is_exact: false,
        }
    }
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.frames.pop_front().map(Bytes::from).map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_exact {
            true => SizeHint::with_exact(self.frames.iter().map(|data| data.len() as u64).sum()),
            false => SizeHint::default(),
        }
    }
}

/// A gRPC response with these trailers.
fn response(status: &'static str) -> Response<Message> {
    Response::builder()
        .header("content-type", GRPC)
        .body(Message::with_status(status))
        .unwrap()
}

fn answers(
    responses: impl IntoIterator<Item = Response<Message>>,
) -> impl Service<
    Request<String>,
    Response = Response<Message>,
    Error = BoxError,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let responses: VecDeque<_> = responses.into_iter().collect();
    let responses = Arc::new(Mutex::new(responses));
    service_fn(move |_: Request<String>| {
        let response = responses.lock().unwrap().pop_front().expect("a response");
        async move { Ok::<_, BoxError>(response) }
    })
}

/// Reads the message and its trailers.
async fn read<B>(response: Response<B>) -> HeaderMap
where
    B: Body<Error: std::fmt::Debug>,
{
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    assert_eq!(collected.to_bytes(), MESSAGE);
    trailers
}

fn failed() -> Response<Message> {
    Response::builder()
        .status(503)
        .body(Message::default())
        .unwrap()
}
