//! The listening socket, which can stop listening and begin again on the same port.

use std::{
    future::poll_fn,
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    sync::Mutex,
    task::Poll,
};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::sync::{Signal, lock};

/// The connections that wait for the origin in the system's queue.
const BACKLOG: u32 = 1024;

pub(super) struct Listener {
    address: SocketAddr,
    port: Mutex<Port>,
    changed: Signal,
}

enum Port {
    Listening(TcpListener),
    /// Bound without listening: the system refuses connections.
    Reserved(TcpSocket),
    Free,
}

impl Listener {
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            port: Mutex::new(Port::Listening(listener)),
            changed: Signal::default(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    pub(super) async fn next(&self) -> TcpStream {
        poll_fn(|cx| {
            self.changed.register(cx.waker());
            let Port::Listening(listener) = &*lock(&self.port) else {
                return Poll::Pending;
            };
            loop {
                match listener.poll_accept(cx) {
                    Poll::Ready(Ok((stream, _))) => return Poll::Ready(stream),
                    // A connection that ended before it was accepted.
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn socket(&self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        Ok(socket)
    }

    /// Stops listening. Returns the connections that the system accepted already.
    pub(super) fn refuse(&self) -> io::Result<Vec<TcpStream>> {
        let mut port = lock(&self.port);
        let listening = match mem::replace(&mut *port, Port::Free) {
            Port::Listening(listener) => listener.into_std()?,
            reserved => {
                *port = reserved;
                return Ok(Vec::new());
            }
        };
        let mut waiting = Vec::new();
        // The socket does not block: the end of the queue is an error.
        while let Ok((stream, _)) = listening.accept() {
            stream.set_nonblocking(true)?;
            waiting.push(TcpStream::from_std(stream)?);
        }
        // The port must be free before it can be bound again.
        drop(listening);
        *port = Port::Reserved(self.socket()?);
        Ok(waiting)
    }

    pub(super) fn accept(&self) -> io::Result<()> {
        let mut port = lock(&self.port);
        match mem::replace(&mut *port, Port::Free) {
            Port::Listening(listener) => *port = Port::Listening(listener),
            Port::Reserved(socket) => *port = Port::Listening(socket.listen(BACKLOG)?),
            Port::Free => *port = Port::Listening(self.socket()?.listen(BACKLOG)?),
        }
        drop(port);
        self.changed.notify();
        Ok(())
    }

    /// Frees the port at once.
    pub(super) fn stop(&self) {
        *lock(&self.port) = Port::Free;
    }
}
