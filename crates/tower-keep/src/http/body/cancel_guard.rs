//! The guard of a Cancel layer: a cancellation ends the body.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::Body;

use super::guard::{End, Guard, PolledFrame, poll_body};
use crate::{
    cancel::BodyWatch,
    error::BoxError,
    job::{
        membership::Reading,
        verdict::{self, VerdictKind},
    },
};

/// The guard of [`CancelLayer::http`](crate::CancelLayer::http).
pub struct CancelGuard {
    reading: Reading,
    /// `None` if the layer itself answered.
    watch: Option<BodyWatch>,
}

impl CancelGuard {
    pub(crate) fn new(reading: Reading, watch: Option<BodyWatch>) -> Self {
        Self { reading, watch }
    }

    /// Drops the body, which ends the transfer. The guards inside see their end first.
    #[cold]
    fn stop<B: Body>(&mut self, mut body: Pin<&mut Option<B>>) -> PolledFrame<B::Data> {
        let cancelled = self.watch.as_ref().map(BodyWatch::cancelled);
        verdict::dropping(VerdictKind::Cancelled, || body.set(None));
        verdict::leave(VerdictKind::Cancelled, false);
        Poll::Ready(cancelled.map(|cancelled| Err(cancelled.into())))
    }
}

impl Guard for CancelGuard {
    fn begin(&mut self, _: Option<u64>) {
        if let Some(watch) = &mut self.watch {
            watch.begin(self.reading.ends_job());
        }
    }

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
        if self.watch.as_ref().is_some_and(BodyWatch::stops) {
            return self.stop(body);
        }
        if let Some(watch) = &self.watch {
            watch.set_polled(true);
        }
        let polled = self.reading.poll(|| poll_body(body.as_mut(), cx));
        if let Some(watch) = &mut self.watch {
            watch.set_polled(false);
            let stops = match polled {
                Poll::Pending => watch.wait(cx),
                Poll::Ready(_) => watch.stops_frame(),
            };
            if stops {
                return self.stop(body);
            }
        }
        polled
    }

    fn ends_job(&self) -> bool {
        self.reading.ends_job()
    }

    fn end(self, end: End<'_>) {
        if let Some(watch) = self.watch {
            watch.end();
        }
        end.settle(self.reading);
    }
}

impl fmt::Debug for CancelGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelGuard").finish_non_exhaustive()
    }
}
