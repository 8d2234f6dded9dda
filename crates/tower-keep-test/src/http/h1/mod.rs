//! HTTP/1.1, by hand: faults need each byte.

mod read;
mod write;

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::time::sleep;

use self::read::{Body, Head};
use super::{
    Received, Reply,
    answer::Afterwards,
    reply::Act,
    socket::Socket,
    state::{State, Ticket},
};

/// The bytes that the origin reads ahead while it waits.
const READ_AHEAD: usize = 64 * 1024;

/// Bytes that begin no HTTP message.
const GARBAGE: &[u8] = b"\x15\x03\x01 this is not HTTP\r\n\r\n";

/// A connection and the bytes that were read ahead.
struct Connection {
    socket: Socket,
    buffer: BytesMut,
}

/// Why an exchange ended before its time.
enum Stop {
    /// The client closed the connection.
    Gone,
    /// The client sent something that is not HTTP.
    Malformed(String),
}

/// What happens to the connection after an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    KeepAlive,
    Close,
    Reset,
    CloseAfter(Duration),
    CloseOnReuse,
}

impl From<Afterwards> for Next {
    fn from(afterwards: Afterwards) -> Self {
        match afterwards {
            Afterwards::KeepAlive => Self::KeepAlive,
            Afterwards::AnnouncedClose => Self::Close,
            Afterwards::IdleClose(idle) => Self::CloseAfter(idle),
            Afterwards::CloseOnReuse => Self::CloseOnReuse,
        }
    }
}

pub(super) async fn serve(state: Arc<State>, socket: Socket, buffer: BytesMut, number: usize) {
    let mut connection = Connection { socket, buffer };
    for index in 0.. {
        let head = match connection.head().await {
            Ok(head) => head,
            Err(Stop::Gone) => return,
            Err(Stop::Malformed(problem)) => {
                state.problem(problem);
                let _ = connection.bad_request().await;
                return;
            }
        };
        let received = Received::new(
            (head.method.clone(), head.uri.clone(), head.version),
            head.headers.clone(),
            number,
            index,
        );
        let mut ticket = state.begin(received);
        let next = match connection.exchange(&head, &mut ticket).await {
            Ok(next) => next,
            Err(Stop::Gone) => {
                ticket.abandoned();
                return;
            }
            Err(Stop::Malformed(problem)) => {
                ticket.problem(problem);
                let _ = connection.bad_request().await;
                return;
            }
        };
        match next {
            Next::KeepAlive => {}
            Next::Close => return connection.socket.close().await,
            Next::Reset => return connection.socket.reset_on_drop(),
            Next::CloseAfter(idle) => return sleep(idle).await,
            Next::CloseOnReuse => return connection.until_next_request().await,
        }
    }
}

impl Connection {
    /// Reads a request after its head, and replies.
    async fn exchange(&mut self, head: &Head, ticket: &mut Ticket) -> Result<Next, Stop> {
        let mut body = Body::of(head)?;
        if body.is_done() {
            ticket.complete(None);
        }
        let reply = ticket.reply_at_head();
        let early = reply.as_ref().is_some_and(|reply| reply.early);
        if !early {
            if head.expects_continue {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            self.read_body(&mut body, ticket).await?;
        }
        let reply = reply.unwrap_or_else(|| ticket.reply_when_complete());
        self.wait_for(&reply).await?;
        let next = match &reply.act {
            Act::Answer(answer) => self.send(answer, head).await?,
            Act::Reset => Next::Reset,
            // An HTTP/1.1 connection is its only stream, and has no way to say more.
            Act::Close | Act::RstStream(_) | Act::GoAway { .. } => Next::Close,
            Act::Hang => return self.until_gone().await,
            Act::Garbage => {
                self.write(GARBAGE).await?;
                Next::Close
            }
            Act::Upgrade { protocol, bytes } => {
                self.send_upgrade(protocol, bytes).await?;
                self.discard_all().await;
                Next::Close
            }
        };
        if early && next == Next::KeepAlive {
            self.read_body(&mut body, ticket).await?;
        }
        Ok(next)
    }

    /// The gate and the delay of a reply.
    async fn wait_for(&mut self, reply: &Reply) -> Result<(), Stop> {
        if let Some(gate) = &reply.gate {
            self.unless_gone(gate.opened()).await?;
        }
        self.pause(reply.delay).await
    }

    async fn pause(&mut self, delay: Duration) -> Result<(), Stop> {
        if delay.is_zero() {
            return Ok(());
        }
        self.unless_gone(sleep(delay)).await
    }

    /// Waits for something, unless the client closes the connection first.
    async fn unless_gone(&mut self, wait: impl Future<Output = ()>) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = wait => Ok(()),
            gone = self.until_gone() => gone,
        }
    }

    /// Waits until the client closes the connection.
    async fn until_gone<T>(&mut self) -> Result<T, Stop> {
        loop {
            if self.buffer.len() >= READ_AHEAD {
                std::future::pending::<()>().await;
            }
            self.fill().await?;
        }
    }
}
