//! The clients of these tests: hyper-util's, connected in memory, and reqwest.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Uri, Version};
use hyper::{
    body::Body,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use tower::Service;
use tower_keep::BoxError;
use tower_keep_test::http::{Connector, InMemoryStream, Origin};

pub(super) type Client<B> = legacy::Client<Connect, B>;

/// hyper-util's client. Every host is this origin. Its own retries are off: the layers retry.
pub(super) fn in_memory<B>(origin: &Origin, version: Version) -> Client<B>
where
    B: Body + Send,
    B::Data: Send,
{
    legacy::Client::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .retry_canceled_requests(false)
        .build(Connect(origin.connector()))
}

/// reqwest's client. Its own retries are off: the layers retry.
pub(super) fn reqwest_client(version: Version) -> Result<reqwest::Client, BoxError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never());
    let client = match version {
        Version::HTTP_2 => client.http2_prior_knowledge(),
        _ => client.http1_only(),
    };
    Ok(client.build()?)
}

#[derive(Clone, Debug)]
pub(super) struct Connect(Connector);

impl Service<Uri> for Connect {
    type Response = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.connect().map(TokioIo::new).map(Stream))
    }
}

#[derive(Debug)]
pub(super) struct Stream(TokioIo<InMemoryStream>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
