//! The connection below the `h2` library: adds frames of the origin between those of the library,
//! and knows what was written.

use std::{
    collections::HashMap,
    future::poll_fn,
    io, mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
};

use super::frame::{Sent, Tracker};
use crate::{
    http::{socket::Socket, state::State},
    sync::{Signal, lock},
};

/// How the origin ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    /// Close without reading what the client sends.
    Abandon,
    Reset,
}

/// What was written of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) head: bool,
    pub(super) data: usize,
    pub(super) ended: bool,
}

/// What a connection and its streams share.
#[derive(Default)]
pub(super) struct Control {
    inner: Mutex<Inner>,
    changed: Signal,
}

#[derive(Default)]
struct Inner {
    /// Frames to add.
    added: BytesMut,
    /// Whether a part of the added frames is under way.
    adding: bool,
    /// The task of the connection.
    task: Option<Waker>,
    streams: HashMap<u32, Progress>,
    end: Option<End>,
    draining: bool,
    close_on_reuse: bool,
}

impl Control {
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut lock(&self.inner));
        self.changed.notify();
        result
    }

    /// Waits until `look` gives something.
    async fn wait<T>(&self, look: impl Fn(&Inner) -> Option<T>) -> T {
        poll_fn(|cx| {
            self.changed.register(cx.waker());
            look(&lock(&self.inner)).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Adds a frame at the next boundary, and waits until it is written.
    pub(super) async fn add(&self, frame: &[u8]) {
        let task = self.change(|inner| {
            inner.added.extend_from_slice(frame);
            inner.task.take()
        });
        if let Some(task) = task {
            task.wake();
        }
        self.wait(|inner| (inner.added.is_empty() && !inner.adding).then_some(()))
            .await;
    }

    /// Waits until `enough` of a stream is written.
    pub(super) async fn written(&self, stream: u32, enough: impl Fn(Progress) -> bool) {
        self.wait(|inner| {
            let progress = inner.streams.get(&stream).copied().unwrap_or_default();
            enough(progress).then_some(())
        })
        .await;
    }

    /// Ends the connection. The first call counts.
    pub(super) fn end(&self, how: End) {
        self.change(|inner| {
            inner.end.get_or_insert(how);
        });
    }

    /// Waits for [`end`](Self::end).
    pub(super) async fn ended(&self) -> End {
        self.wait(|inner| inner.end).await
    }

    /// Ends the connection when the running streams are done.
    pub(super) fn drain(&self) {
        self.change(|inner| inner.draining = true);
    }

    pub(super) fn is_draining(&self) -> bool {
        lock(&self.inner).draining
    }

    pub(super) fn close_on_reuse(&self) {
        self.change(|inner| inner.close_on_reuse = true);
    }

    pub(super) fn closes_on_reuse(&self) -> bool {
        lock(&self.inner).close_on_reuse
    }
}

/// The connection below the library.
pub(super) struct Wire {
    /// `None` after the drop began.
    socket: Option<Socket>,
    control: Arc<Control>,
    state: Arc<State>,
    tracker: Tracker,
    /// Added frames that are being written.
    adding: BytesMut,
}

impl Wire {
    pub(super) fn new(socket: Socket, control: Arc<Control>, state: Arc<State>) -> Self {
        Self {
            socket: Some(socket),
            control,
            state,
            tracker: Tracker::default(),
            adding: BytesMut::new(),
        }
    }

    fn socket(&mut self) -> Pin<&mut Socket> {
        Pin::new(
            self.socket
                .as_mut()
                .expect("the socket is there until the drop"),
        )
    }

    /// Whether there are frames to add.
    fn take_added(&mut self) -> bool {
        if self.adding.is_empty() {
            let mut inner = lock(&self.control.inner);
            self.adding = mem::take(&mut inner.added);
            inner.adding = !self.adding.is_empty();
        }
        !self.adding.is_empty()
    }

    /// Writes the added frames, if a frame may begin here.
    fn poll_add(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tracker.at_boundary() && self.take_added() {
            let bytes = mem::take(&mut self.adding);
            let result = self.socket().poll_write(cx, &bytes);
            self.adding = bytes;
            self.adding.advance(ready!(result)?);
            if self.adding.is_empty() {
                self.control.change(|inner| inner.adding = false);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.control.inner).task = Some(cx.waker().clone());
        // The library may have nothing to write, but reads whenever it is polled.
        if let Poll::Ready(result) = self.poll_add(cx) {
            result?;
        }
        self.socket().poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_add(cx))?;
        let length = if self.take_added() {
            self.tracker.rest_of_frame(buf)
        } else {
            buf.len()
        };
        let written = ready!(self.socket().poll_write(cx, &buf[..length]))?;
        let Self {
            tracker, control, ..
        } = &mut *self;
        control.change(|inner| {
            tracker.written(&buf[..written], |stream, sent| {
                let progress = inner.streams.entry(stream).or_default();
                match sent {
                    Sent::Head => progress.head = true,
                    Sent::Data(length) => progress.data += length,
                    Sent::End => progress.ended = true,
                }
            });
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_add(cx))?;
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let end = lock(&self.control.inner).end;
        match (end, self.socket.take()) {
            (Some(End::Reset), Some(socket)) => socket.reset_on_drop(),
            // At the end of the runtime, nothing can be spawned any more.
            (Some(End::Close), Some(socket)) if Handle::try_current().is_ok() => {
                self.state.spawn(socket.close());
            }
            _ => {}
        }
    }
}
