//! The inner services: the first answers, the second fails.

use std::{
    fmt,
    future::Future,
    hint::black_box,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tower::Service;

/// The inner services' error, which has no size.
#[derive(Clone, Debug)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// Answers with the request, at once or after it was pending once. A clone costs nothing.
#[derive(Clone, Debug)]
pub struct Inner {
    pends: bool,
    wakes: bool,
}

impl Inner {
    /// Ready at once.
    pub fn ready() -> Self {
        Self {
            pends: false,
            wakes: false,
        }
    }

    /// Pending once, for a driver that polls again without being woken.
    pub fn pending_once() -> Self {
        Self {
            pends: true,
            wakes: false,
        }
    }

    /// Pending once, and woken right away, for the tasks of a scheduler.
    pub fn yielding() -> Self {
        Self {
            pends: true,
            wakes: true,
        }
    }
}

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Broken;
    type Future = Answer;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        Answer {
            pends: black_box(self.pends),
            wakes: self.wakes,
            request,
        }
    }
}

/// The future of [`Inner`].
#[derive(Debug)]
pub struct Answer {
    pends: bool,
    wakes: bool,
    request: u64,
}

impl Future for Answer {
    type Output = Result<u64, Broken>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.pends) {
            if self.wakes {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.request))
    }
}

/// Fails each call, and counts those whose futures are polled, for all its clones. Making such a
/// future costs nothing, as some circuit breakers have it made first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    polled: &'static AtomicU64,
}

impl Failing {
    pub(crate) fn new() -> Self {
        Self {
            polled: Box::leak(Box::default()),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }
}

impl Service<u64> for Failing {
    type Response = u64;
    type Error = Broken;
    type Future = Failure;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, _: u64) -> Failure {
        Failure {
            polled: self.polled,
        }
    }
}

/// The future of [`Failing`].
pub(crate) struct Failure {
    polled: &'static AtomicU64,
}

impl Future for Failure {
    type Output = Result<u64, Broken>;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(Broken))
    }
}
