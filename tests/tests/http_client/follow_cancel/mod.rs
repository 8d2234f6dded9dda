//! A cancellation reaches the body.

mod cancelling;
mod compositions;
mod from_origin;
mod shutdown;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tower_keep::{BoxError, Rejection, cancel::Cancelled, find};

/// A body that gives this many frames, then waits for ever. It counts itself.
pub(super) struct Endless {
    frames: usize,
    _alive: Arc<()>,
}

/// The number of bodies that are alive.
#[derive(Clone, Default)]
pub(super) struct Alive(Arc<()>);

impl Alive {
    pub(super) fn body(&self, frames: usize) -> Endless {
        Endless {
            frames,
            _alive: Arc::clone(&self.0),
        }
    }

    pub(super) fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.frames == 0 {
            return Poll::Pending;
        }
        self.frames -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from("frame")))))
    }
}

/// A waker that counts.
pub(super) struct Wakes(AtomicUsize);

impl Wakes {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0)))
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The result of a poll of this body.
type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// Polls the body once, with this waker.
pub(super) fn poll_with<B: Body + Unpin>(body: &mut B, wakes: &Arc<Wakes>) -> Polled<B> {
    let waker = Waker::from(Arc::clone(wakes));
    Pin::new(body).poll_frame(&mut Context::from_waker(&waker))
}

/// The text of the cancellation that the poll gave.
pub(super) fn cancelled<T>(polled: Poll<Option<Result<T, BoxError>>>) -> String {
    let Poll::Ready(Some(Err(error))) = polled else {
        panic!("no error");
    };
    assert_eq!(Rejection::of(&*error), Some(Rejection::Cancelled));
    find::<Cancelled>(&*error).unwrap().reason().to_string()
}
