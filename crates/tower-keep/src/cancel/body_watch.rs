//! `BodyWatch`: a call whose response body is read, and its cancellation.
//!
//! The job's waker slot holds a waker of this module, not the reader's. So a cancellation ends the
//! job at once, whether the reader polls or not. A reader's waker is registered only while it
//! waits.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, Weak},
    task::{Context, Wake, Waker},
};

use super::{
    cancellable_call::cancelled,
    external_token::{ExternalToken, TokenWait},
    registry::cancel,
};
use crate::{
    event::CancelReason,
    job::{
        Cancelled, context,
        core::{Core, Ending, wakers::CancelWaker},
        table::Call,
    },
    sync::{
        AtomicWaker, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// A call in hand while its response body is read. Dropping this lets it go.
#[allow(missing_debug_implementations, reason = "it has no public name")]
#[allow(unreachable_pub, reason = "it is in the types of a layer")]
pub struct BodyWatch {
    // Before `hold`: the job's slot is empty then.
    waker: CancelWaker,
    hold: Arc<Hold>,
    external_token: Option<Arc<ExternalToken>>,
    token_wait: Option<Pin<Box<TokenWait>>>,
}

/// What the cancellation reaches without the reader.
struct Hold {
    // Weak: the job's slot holds this.
    job: Weak<Core>,
    shared: bool,
    reader: AtomicWaker,
    /// The job's slot is empty.
    woken: AtomicBool,
    /// The body is being polled. An attempt that ends meanwhile is one of the body's own: a layer
    /// inside resumes it.
    polled: AtomicBool,
    /// The place in the list of running jobs, and in a group.
    place: Mutex<Option<Place>>,
}

pub(super) struct Place {
    pub(super) call: Call,
    /// Leaves its group when it is dropped.
    #[allow(dead_code, reason = "only its drop counts")]
    pub(super) group: Option<Box<dyn Send + Sync>>,
}

impl BodyWatch {
    pub(super) fn new(
        waker: CancelWaker,
        place: Option<Place>,
        external_token: Option<Arc<ExternalToken>>,
        token_wait: Option<Pin<Box<TokenWait>>>,
    ) -> Self {
        let hold = Arc::new(Hold {
            job: Arc::downgrade(waker.job()),
            shared: waker.is_shared(),
            reader: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            polled: AtomicBool::new(false),
            place: Mutex::new(place),
        });
        Self {
            waker,
            hold,
            external_token,
            token_wait,
        }
    }

    /// Something is left to read. `ends_job`: this layer ends the job; otherwise another layer may
    /// end it before the body ends, and then nothing is left to cancel.
    pub(crate) fn begin(&mut self, ends_job: bool) {
        self.register();
        if !ends_job {
            let leaves = LeavesWithJob(Arc::clone(&self.hold));
            self.waker.job().keep_until_over(Box::new(leaves));
        }
    }

    #[cold]
    fn register(&mut self) {
        let waker = Waker::from(Arc::clone(&self.hold));
        self.waker.register(&waker);
        // A cancellation before that woke nothing.
        if self.is_stopped() {
            waker.wake();
        }
    }

    /// Whether the job is cancelled.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        is_stopped(self.waker.job(), self.hold.shared)
    }

    /// Around a poll of the body.
    #[inline(always)]
    pub(crate) fn set_polled(&self, polled: bool) {
        // Only code inside the poll reads it.
        self.hold.polled.store(polled, Ordering::Relaxed);
    }

    /// Before a poll of the body: whether it has to stop.
    #[inline]
    pub(crate) fn stops(&self) -> bool {
        if let Some(token) = &self.external_token {
            if token.stops_at_once() {
                self.cancel(token.reason());
            }
        }
        self.is_stopped()
    }

    /// After a poll that gave a frame or the end: whether it comes too late. The error of a limit
    /// inside takes precedence.
    #[inline]
    pub(crate) fn stops_frame(&self) -> bool {
        self.is_stopped() && self.waker.job().reason() != Some(CancelReason::TimedOut)
    }

    /// The reader waits. Returns whether the body has to stop instead.
    #[inline]
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) -> bool {
        self.hold.reader.register(cx.waker());
        if self.external_token.is_some() {
            self.wait_for_token(cx);
        }
        if self.hold.woken.load(Ordering::Acquire) && !self.is_stopped() {
            // A shared execution goes on after its caller left.
            self.hold.woken.store(false, Ordering::Release);
            self.register();
        }
        self.is_stopped()
    }

    #[cold]
    fn wait_for_token(&mut self, cx: &mut Context<'_>) {
        let Some(token) = &self.external_token else {
            return;
        };
        let hold = &self.hold;
        let wait = self.token_wait.get_or_insert_with(|| {
            let owner = hold.lock().as_ref().and_then(|place| place.call.owner());
            Box::pin(TokenWait::new(token, owner))
        });
        if wait.as_mut().poll(cx).is_ready() {
            let reason = token.reason();
            self.cancel(reason);
        }
    }

    fn cancel(&self, reason: CancelReason) {
        cancel(self.waker.job(), self.hold.shared, reason);
    }

    /// The error of the reader.
    #[cold]
    pub(crate) fn cancelled(&self) -> Cancelled {
        let job = self.waker.job();
        job.flags.set_dropped();
        cancelled(job)
    }

    /// The body has ended: from here on it is too late to cancel.
    pub(crate) fn end(mut self) {
        // If the job was cancelled, it ends as such.
        let _ = self.waker.decide();
    }
}

impl Drop for BodyWatch {
    fn drop(&mut self) {
        self.hold.leave();
    }
}

fn is_stopped(job: &Core, shared: bool) -> bool {
    let now = job.state();
    if shared {
        now.has_fired()
    } else {
        now.is_cancelled()
    }
}

impl Hold {
    fn lock(&self) -> crate::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job leaves the list of running jobs and its group.
    fn leave(&self) {
        let place = self.lock().take();
        // Without the lock, because the key of a group is the user's.
        drop(place);
    }
}

impl Wake for Hold {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if let Some(job) = self.job.upgrade() {
            // An overall limit has its own error, which ends the job.
            if is_stopped(&job, self.shared) && job.reason() != Some(CancelReason::TimedOut) {
                if !self.shared {
                    job.flags.set_dropped();
                    let reason = job.reason().unwrap_or(CancelReason::Requested);
                    job.end(context::step_of(job.id()), || Ending::Cancelled { reason });
                }
                self.leave();
            }
        }
        self.reader.wake();
    }
}

/// The owner ended the job, or another attempt follows.
struct LeavesWithJob(Arc<Hold>);

impl Drop for LeavesWithJob {
    fn drop(&mut self) {
        let hold = &self.0;
        if hold.polled.load(Ordering::Relaxed) && hold.lock().is_some() {
            // The attempt is one inside this body, which goes on with the next attempt.
            if let Some(job) = hold.job.upgrade().filter(|job| !job.state().is_over()) {
                job.keep_until_over(Box::new(Self(Arc::clone(hold))));
                return;
            }
        }
        hold.leave();
    }
}
