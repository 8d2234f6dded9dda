//! A streamed request body.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tower_keep::BoxError;

use super::{
    plan::{chance, rng},
    record::World,
};

/// A body that is sent in chunks, with pauses.
#[derive(Debug)]
pub(super) struct Upload {
    chunks: VecDeque<Bytes>,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    has_length: bool,
    /// It fails after its first chunk.
    fails: bool,
}

impl Upload {
    /// The request with its body as an upload.
    pub(super) fn of(world: &World, request: Request<Bytes>) -> Request<Self> {
        let call = request.headers()["x-call"].to_str().unwrap();
        let call = world.call(call.parse().unwrap());
        let (size, pause) = call.chunks;
        request.map(|body| Self {
            chunks: body
                .chunks(size)
                .map(|chunk| body.slice_ref(chunk))
                .collect(),
            pause,
            sleep: None,
            has_length: call.has_length,
            fails: chance(&mut rng(world.settings.seed, "upload", [call.id, 0]), 3),
        })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.fails {
                // The source of an upload may be another connection.
                let error = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        let Some(chunk) = self.chunks.pop_front() else {
            return Poll::Ready(None);
        };
        self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.fails
    }

    fn size_hint(&self) -> SizeHint {
        match self.has_length {
            true => SizeHint::with_exact(self.chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            false => SizeHint::default(),
        }
    }
}
