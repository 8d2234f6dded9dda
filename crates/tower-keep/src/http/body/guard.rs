//! `Guard`: what a layer holds until the end of a response body.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame};

use super::{BodyEnd, left::Left};
use crate::{
    error::BoxError,
    http::status::Answer,
    job::{
        membership::Reading,
        verdict::{self, Carried, VerdictKind},
    },
};

/// The result of a poll of a followed body.
pub(crate) type PolledFrame<D> = Poll<Option<Result<Frame<D>, BoxError>>>;

/// What a layer holds until the end of a response body.
pub trait Guard: Sized {
    /// Something is left to read: this much, if it is known.
    fn begin(&mut self, length: Option<u64>) {
        let _ = length;
    }

    /// Polls the body. The guard may end it early, with an error: it then drops the body.
    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B::Data>
    where
        B: Body,
        B::Error: Into<BoxError>;

    /// Whether this layer ends the job. No layer of its stack is around it then, so that whatever
    /// drops the body is its reader.
    fn ends_job(&self) -> bool;

    /// The body has ended. Called once.
    fn end(self, end: End<'_>);

    /// Whether it has something to do. If not, the body needs no guard.
    #[inline]
    fn is_needed(&self) -> bool {
        true
    }

    /// Makes errors that reqwest recognizes: it looks for an `io::Error`.
    #[cfg(feature = "reqwest-0-13")]
    #[must_use]
    fn with_io_errors(self) -> Self {
        self
    }
}

/// Polls the body, unless it was dropped.
#[inline(always)]
pub(crate) fn poll_body<B>(body: Pin<&mut Option<B>>, cx: &mut Context<'_>) -> PolledFrame<B::Data>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    match body.as_pin_mut() {
        Some(body) => body.poll_frame(cx).map_err(Into::into),
        None => Poll::Ready(None),
    }
}

/// How a body ended, for a guard.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// With the answer in the trailers, if it was there: the status of a gRPC call.
    #[allow(private_interfaces, reason = "it has no public name")]
    Complete(Option<Answer>),
    Failed(&'a BoxError),
    Dropped,
    /// Its `poll_frame` panicked.
    Panicked,
}

impl End<'_> {
    /// Ends the layer's part in the job.
    #[inline]
    pub(super) fn settle(self, reading: Reading) {
        match self {
            Self::Complete(Some(answer)) if answer.fails_job() => {
                reading.fail_with(|| answer.describe().into());
            }
            Self::Complete(_) | Self::Dropped => reading.end(),
            Self::Failed(error) => reading.fail(error),
            Self::Panicked => reading.panicked(),
        }
    }

    /// `None` for a panic.
    pub(crate) fn kind(self) -> Option<BodyEnd> {
        match self {
            Self::Complete(_) => Some(BodyEnd::Complete),
            Self::Failed(error) => Some(BodyEnd::of_error(&**error)),
            Self::Dropped => Some(match verdict::dropped_by() {
                Some(VerdictKind::TimedOut | VerdictKind::AttemptTimedOut) => BodyEnd::Stalled,
                _ => BodyEnd::Dropped,
            }),
            Self::Panicked => None,
        }
    }
}

/// A guard that sees exactly one end. A drop before the body's end is an end too.
pub(super) struct Held<G: Guard> {
    guard: Option<G>,
    pub(super) left: Left,
    /// While the body is polled.
    aside: Option<Box<Carried>>,
}

impl<G: Guard> Held<G> {
    pub(super) fn new(guard: Option<G>, left: Left) -> Self {
        Self {
            guard,
            left,
            aside: None,
        }
    }

    /// `None` after the end.
    #[inline(always)]
    pub(super) fn guard(&mut self) -> Option<&mut G> {
        self.guard.as_mut()
    }

    /// Before a poll. A verdict that the poll leaves belongs to its error. So an earlier verdict
    /// waits until the poll is over: a layer inside may read the body before its call returns.
    #[inline(always)]
    pub(super) fn keep_verdict(&mut self) {
        if verdict::is_left() {
            self.put_aside();
        }
    }

    /// After the poll.
    #[inline(always)]
    pub(super) fn return_verdict<T>(&mut self, polled: &Poll<Option<Result<T, BoxError>>>) {
        if self.aside.is_some() {
            self.put_back(matches!(polled, Poll::Ready(Some(Err(_)))));
        }
    }

    #[cold]
    fn put_aside(&mut self) {
        self.aside = Some(Box::new(verdict::carry()));
    }

    #[cold]
    fn put_back(&mut self, failed: bool) {
        if let (Some(aside), false) = (self.aside.take(), failed) {
            verdict::leave_carried(*aside);
        }
    }

    /// Whether this layer ends the job, and it has not ended.
    #[inline]
    fn ends_job(&self) -> bool {
        self.guard.as_ref().is_some_and(G::ends_job)
    }

    /// Drops the body, before the end of the guard.
    #[inline]
    pub(super) fn drop_body<B>(&self, mut body: Pin<&mut Option<B>>) {
        if self.ends_job() {
            apart_from_reader(true, || body.set(None));
        }
    }

    #[inline]
    pub(super) fn end(&mut self, end: End<'_>) {
        if let Some(guard) = self.guard.take() {
            guard.end(end);
        }
    }
}

impl<G: Guard> Drop for Held<G> {
    fn drop(&mut self) {
        apart_from_reader(self.ends_job(), || {
            // A layer that ends the body, as a time limit does, waited for more than its length.
            let is_whole = self.left.is_nothing() && verdict::dropped_by().is_none();
            self.end(match is_whole {
                true => End::Complete(None),
                false => End::Dropped,
            });
        });
    }
}

/// A limit on the reader, or its cancellation, is none of the call whose body it drops: the layers
/// of the stack see a reader that drops the body.
#[inline]
fn apart_from_reader(is_apart: bool, code: impl FnOnce()) {
    match is_apart {
        true => verdict::dropping_apart(code),
        false => code(),
    }
}
