//! The connections: a pipe in memory that is cut at a random byte, and the client's connector.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpListener,
};
use tower_service::Service;

use super::{origin, plan::Connect, record::World};

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    /// `None` once it is cut.
    stream: Option<S>,
    /// How many bytes it reads and writes before it is cut.
    reads: Option<usize>,
    writes: Option<usize>,
    /// What it reports instead of the end of the stream.
    error: Option<io::ErrorKind>,
}

impl<S: Unpin> Wire<S> {
    fn server(stream: S, (reads, writes): (Option<usize>, Option<usize>)) -> Self {
        Self {
            stream: Some(stream),
            reads,
            writes,
            error: None,
        }
    }

    fn client(stream: S, error: Option<io::ErrorKind>) -> Self {
        Self {
            error,
            ..Self::server(stream, (None, None))
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads == Some(0) {
            self.stream = None;
        }
        let most = self.reads.unwrap_or(usize::MAX).min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let poll = self.stream()?.poll_read(cx, &mut part);
        let read = part.filled().len();
        buffer.advance(read);
        if let Some(left) = &mut self.reads {
            *left -= read;
        }
        let is_end = read == 0 && most > 0 && matches!(poll, Poll::Ready(Ok(())));
        match self.error {
            Some(error) if is_end => Poll::Ready(Err(error.into())),
            _ => poll,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.writes == Some(0) {
            self.stream = None;
        }
        let most = self.writes.unwrap_or(usize::MAX).min(bytes.len());
        let poll = self.stream()?.poll_write(cx, &bytes[..most]);
        if let (Some(left), Poll::Ready(Ok(written))) = (&mut self.writes, &poll) {
            *left -= written;
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

/// The client's end, for hyper-util's client.
#[derive(Debug)]
pub(super) struct ClientWire(TokioIo<Wire<DuplexStream>>);

impl Connection for ClientWire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for ClientWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for ClientWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects to the origin of a world, in memory.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<World>);

impl Service<Uri> for Connector {
    type Response = ClientWire;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<ClientWire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let world = self.0.clone();
        Box::pin(async move {
            let plan = match world.next_connection() {
                Connect::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                Connect::Failed => return Err(io::ErrorKind::ConnectionReset.into()),
                Connect::Hangs => std::future::pending().await,
                Connect::Connected(plan) => plan,
            };
            if plan.delay > Duration::ZERO {
                tokio::time::sleep(plan.delay).await;
            }
            let (near, far) = tokio::io::duplex(plan.buffer);
            tokio::spawn(origin::serve(
                world,
                Wire::server(far, plan.cuts),
                plan.closes_after,
            ));
            Ok(ClientWire(TokioIo::new(Wire::client(near, plan.error))))
        })
    }
}

/// Accepts the connections of a world on this socket, as long as the world lives.
pub(super) async fn accept(world: Arc<World>, listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // The plan of a connection that is not made closes it at once, or never serves it.
        match world.next_connection() {
            Connect::Refused | Connect::Failed => drop(stream),
            Connect::Hangs => {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    drop(stream);
                });
            }
            Connect::Connected(plan) => {
                let wire = Wire::server(stream, plan.cuts);
                tokio::spawn(origin::serve(world.clone(), wire, plan.closes_after));
            }
        }
    }
}
