//! Request bodies that are sent again.

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tower_keep::BoxError;

mod in_memory;
mod over_hyper;

/// A body that is not `Clone`.
type Body = UnsyncBoxBody<Bytes, BoxError>;

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body of unknown length.
fn frames(frames: impl IntoIterator<Item = Frame<Bytes>, IntoIter: Send + 'static>) -> Body {
    let frames = futures::stream::iter(frames).map(Ok::<_, BoxError>);
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// A body that the test writes.
fn written() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<&str>();
    let frames = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let frames = frames.map(|text| Ok::<_, BoxError>(Frame::data(Bytes::from(text))));
    (sender, BodyExt::boxed_unsync(StreamBody::new(frames)))
}
