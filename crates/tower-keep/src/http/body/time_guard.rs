//! The guard of a Timeout layer: an overall limit to the end of the body, or an idle limit.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep},
};

use super::{
    followed::is_at_end,
    guard::{End, Guard, PolledFrame, poll_body},
};
use crate::{
    error::BoxError,
    job::{Elapsed, context, membership::Reading, verdict},
    timeout::{Deadline, Measure},
};

/// The guard of a Timeout layer: [`TimeoutLayer::http`](crate::TimeoutLayer::http) and
/// [`TimeoutLayer::http_attempt`](crate::TimeoutLayer::http_attempt).
pub struct TimeGuard {
    reading: Reading,
    /// An overall limit, or an idle limit. `None`: no limit.
    deadline: Option<Deadline>,
    /// The body was pending at the last poll. The idle limit then expires at `deadline.at`.
    waits: bool,
    in_io_error: bool,
    /// The number of frames under an overall limit, modulo 256.
    frames: u8,
    // Boxed: most bodies need none, and it would pin the body. It may fire early, as the wait for
    // each frame has its own time of expiry.
    timer: Option<Pin<Box<Sleep>>>,
}

/// With a timer that runs, one frame of this many reads the clock.
const CLOCK_EVERY: u8 = 16;

impl TimeGuard {
    pub(crate) fn new(reading: Reading, deadline: Option<Deadline>) -> Self {
        Self {
            reading,
            deadline,
            waits: false,
            in_io_error: false,
            frames: 0,
            timer: None,
        }
    }

    /// Whether the limit expires although this frame has arrived. A reader may be slower than the
    /// server, so that the body never waits: an overall limit must still end it.
    #[inline(always)]
    fn is_late<B: Body>(&mut self, frame: &Frame<B::Data>, body: Option<&B>) -> bool {
        self.waits = false;
        match &self.deadline {
            Some(deadline) if deadline.measure == Measure::Total => {
                self.frames = self.frames.wrapping_add(1);
                // A timer that runs saves reading the clock. But it cannot fire if the reader never
                // yields to the runtime.
                let may_be_late = self.frames % CLOCK_EVERY == 0
                    || self.timer.as_ref().is_none_or(|timer| timer.is_elapsed());
                may_be_late && is_passed(deadline.at) && is_in_the_middle(frame, body)
            }
            _ => false,
        }
    }

    /// Whether the limit expires while the body waits for the peer.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = &mut self.deadline else {
            return false;
        };
        if !self.waits && deadline.measure == Measure::Idle {
            match Instant::now().checked_add(deadline.limit()) {
                Some(at) => deadline.at = at,
                None => return false,
            }
        }
        self.waits = true;
        if deadline.limit().is_zero() {
            return true;
        }
        let at = deadline.at;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        loop {
            // A body that exhausts the task's budget must not starve its limit.
            let fired = Pin::new(&mut unconstrained(timer.as_mut())).poll(cx);
            if fired.is_pending() {
                return false;
            }
            if timer.deadline() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
    }

    /// Drops the body, which ends the transfer, and makes the error of its reader.
    #[cold]
    fn expire<B>(&mut self, mut body: Pin<&mut Option<B>>) -> BoxError {
        self.timer = None;
        let Some(deadline) = self.deadline.take() else {
            unreachable!("without a limit there is none to expire")
        };
        // Retry reads the body of an attempt that is over, to use its connection again.
        let discarded = self.reading.with_job(|job| {
            let is_over = job.state().is_backing_off() && deadline.measure == Measure::Idle;
            is_over.then(|| job.attempt())
        });
        let membership = self.reading.membership();
        let elapsed = match discarded.flatten() {
            Some(attempt) => {
                let drop_body = || body.set(None);
                membership.scoped(|| verdict::dropping(deadline.kind(), drop_body));
                deadline.elapsed(attempt)
            }
            None => {
                let (elapsed, kind) = deadline.expire(membership, true, || body.set(None));
                verdict::leave(kind, false);
                elapsed
            }
        };
        match self.in_io_error {
            true => io::Error::new(io::ErrorKind::TimedOut, InIoError(elapsed)).into(),
            false => elapsed.into(),
        }
    }
}

fn is_passed(at: Instant) -> bool {
    Instant::now() > at
}

/// What arrives at the moment of the limit wins, and so does the last frame.
fn is_in_the_middle<B: Body>(frame: &Frame<B::Data>, body: Option<&B>) -> bool {
    !frame.is_trailers() && !body.is_some_and(is_at_end)
}

impl Guard for TimeGuard {
    #[inline(always)]
    fn poll_frame<B>(
        &mut self,
        mut body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B::Data>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let deadline = self.deadline.as_ref();
        let total = deadline.filter(|deadline| deadline.measure == Measure::Total);
        let at = total.map(|deadline| deadline.at);
        let polled = self.reading.poll(|| {
            let _in_force = at.map(context::narrow_deadline);
            poll_body(body.as_mut(), cx)
        });
        let is_over = match &polled {
            Poll::Pending => self.poll_limit(cx),
            Poll::Ready(Some(Ok(frame))) => self.is_late(frame, body.as_ref().get_ref().as_ref()),
            Poll::Ready(_) => false,
        };
        if is_over {
            drop(polled);
            return Poll::Ready(Some(Err(self.expire(body))));
        }
        polled
    }

    fn ends_job(&self) -> bool {
        self.reading.ends_job()
    }

    fn end(self, end: End<'_>) {
        end.settle(self.reading);
    }

    #[cfg(feature = "reqwest-0-13")]
    fn with_io_errors(mut self) -> Self {
        self.in_io_error = true;
        self
    }
}

impl fmt::Debug for TimeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeGuard")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// An `io::Error` skips what it wraps in its chain of sources, so that the [`Elapsed`] itself must
/// be a source.
#[derive(Debug)]
struct InIoError(Elapsed);

impl fmt::Display for InIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for InIoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
