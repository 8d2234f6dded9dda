//! The two kinds of connections: TCP, and in memory.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    net::TcpStream,
};

/// The bytes that an in-memory connection holds in each direction.
const BUFFER: usize = 64 * 1024;

/// The origin's end of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    transport: Transport,
    reset: ResetSwitch,
    /// Bytes that were read and put back.
    unread: BytesMut,
}

#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    Memory(DuplexStream),
}

impl Socket {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        // Small pieces must arrive when they are written.
        let _ = stream.set_nodelay(true);
        Self {
            transport: Transport::Tcp(stream),
            reset: ResetSwitch::default(),
            unread: BytesMut::new(),
        }
    }

    pub(super) fn in_memory() -> (Self, InMemoryStream) {
        let (near, far) = duplex(BUFFER);
        let reset = ResetSwitch::default();
        let socket = Self {
            transport: Transport::Memory(near),
            reset: reset.clone(),
            unread: BytesMut::new(),
        };
        (socket, InMemoryStream { stream: far, reset })
    }

    /// Puts bytes back, to be read first.
    pub(super) fn unread(&mut self, bytes: BytesMut) {
        self.unread = bytes;
    }

    /// Closes the connection. It reads on until the client closes too: bytes of the client that
    /// nobody reads would make the close a reset.
    pub(super) async fn close(mut self) {
        let _ = self.shutdown().await;
        let mut discarded = [0; 4096];
        while self
            .read(&mut discarded)
            .await
            .is_ok_and(|length| length > 0)
        {}
    }

    /// The switch that makes the drop of this socket a reset.
    pub(super) fn reset_switch(&self) -> ResetSwitch {
        self.reset.clone()
    }

    /// Makes the drop of this socket a reset.
    pub(super) fn reset_on_drop(&self) {
        self.reset.turn_on();
    }
}

/// Makes the drop of a socket a reset.
#[derive(Clone, Debug, Default)]
pub(super) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    pub(super) fn turn_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Transport::Tcp(stream), true) = (&self.transport, self.reset.is_on()) {
            // A failure leaves a plain close, which the client sees as well.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..length]);
            self.unread.advance(length);
            return Poll::Ready(Ok(()));
        }
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The client's end of an in-memory connection, as [`Connector::connect`](super::Connector::connect)
/// returns it.
///
/// After a reset by the origin, reads and writes fail with
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset), as on a socket. Bytes that were sent before
/// the reset can be read first.
#[derive(Debug)]
pub struct InMemoryStream {
    stream: DuplexStream,
    reset: ResetSwitch,
}

impl InMemoryStream {
    fn check(&self) -> io::Result<()> {
        if self.reset.is_on() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for InMemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if buf.filled().len() == before && buf.remaining() > 0 {
            self.check()?;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for InMemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
