//! `UploadCount`: the bytes of one request body, as reports to its job.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use http::HeaderMap;
use http_body::SizeHint;
use tokio::time::Instant;

use crate::{
    event::Report,
    http::{body::INTERVAL, content_length::content_length},
    job::{
        context,
        core::{Core, uploads::UploadId},
    },
};

/// Counts what a transport takes of a body, and reports it.
///
/// The transport may keep the body longer than the job lives, in a task of its own. So this keeps
/// nothing of the job.
pub(crate) struct UploadCount {
    job: Weak<Core>,
    /// The length in the head.
    declared: Option<u64>,
    state: State,
}

enum State {
    /// The body was not polled so far.
    Unsent,
    Sending(Sending),
    /// Nothing to report any more.
    Over,
}

struct Sending {
    id: UploadId,
    sent: u64,
    total: Option<u64>,
    /// The last report: amount and total.
    reported: Option<(u64, Option<u64>)>,
    next_report: Option<Instant>,
}

impl UploadCount {
    /// For a call that is being made, of the stack's job.
    pub(crate) fn of_call(headers: &HeaderMap) -> Self {
        match job_of_call() {
            None => Self::none(),
            Some(job) => {
                job.expect_upload();
                Self::new(Arc::downgrade(&job), content_length(headers))
            }
        }
    }

    /// For the further attempts of a call that is being made, if its job expects an upload.
    #[cfg(all(feature = "reqwest-0-13", feature = "retry"))]
    pub(crate) fn of_attempt(headers: &HeaderMap) -> Self {
        match job_of_call().filter(|job| job.expects_upload()) {
            None => Self::none(),
            Some(job) => Self::new(Arc::downgrade(&job), content_length(headers)),
        }
    }

    /// Whether the body is counted.
    #[cfg(all(feature = "reqwest-0-13", feature = "retry"))]
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self.state, State::Over)
    }

    fn new(job: Weak<Core>, declared: Option<u64>) -> Self {
        Self {
            job,
            declared,
            state: State::Unsent,
        }
    }

    /// For a body that is not counted.
    pub(crate) fn none() -> Self {
        Self {
            state: State::Over,
            ..Self::new(Weak::new(), None)
        }
    }

    /// For a clone of the body, which is another attempt.
    pub(crate) fn again(&self) -> Self {
        match self.state {
            State::Unsent => Self::new(Weak::clone(&self.job), self.declared),
            // The clone sends the rest, so the length in the head is not its own.
            State::Sending(_) => Self::new(Weak::clone(&self.job), None),
            State::Over => Self::none(),
        }
    }

    /// The body is about to be polled. `size`: what is left of it.
    #[inline]
    pub(super) fn begin(&mut self, size: impl FnOnce() -> SizeHint) {
        if let State::Unsent = self.state {
            self.begin_with(size());
        }
    }

    #[cold]
    fn begin_with(&mut self, size: SizeHint) {
        let id = self.job.upgrade().and_then(|job| job.begin_upload());
        self.state = match id {
            None => State::Over,
            Some(id) => State::Sending(Sending {
                id,
                sent: 0,
                total: size.exact().or(self.declared),
                reported: None,
                next_report: None,
            }),
        };
        self.report_if_due();
    }

    /// The transport takes this much. Returns whether nothing of the declared length is left.
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) {
        if let State::Sending(sending) = &mut self.state {
            sending.sent += bytes as u64;
            sending.total = sending.total.filter(|total| *total >= sending.sent);
            match sending.total == Some(sending.sent) {
                true => self.end(true),
                false => self.report_if_due(),
            }
        }
    }

    fn report_if_due(&mut self) {
        let State::Sending(sending) = &mut self.state else {
            return;
        };
        let job = self
            .job
            .upgrade()
            .filter(|job| job.is_uploading(sending.id));
        let Some(job) = job else {
            self.state = State::Over;
            return;
        };
        job.touch();
        if !job.is_heard() {
            return;
        }
        let now = Instant::now();
        if sending.next_report.is_none_or(|next| now >= next) {
            sending.next_report = Some(now + INTERVAL);
            sending.report(&job);
        }
    }

    /// The body has ended: reports what it came to. It is complete, or it failed.
    pub(super) fn end(&mut self, is_complete: bool) {
        if let State::Sending(sending) = &mut self.state {
            if is_complete {
                // A body of unknown length has one now.
                sending.total = Some(sending.sent);
            }
            if let Some(job) = self.job.upgrade() {
                if job.is_heard() {
                    sending.report(&job);
                }
            }
            self.state = State::Over;
        }
    }

    pub(super) fn sent(&self) -> Option<u64> {
        match &self.state {
            State::Sending(sending) => Some(sending.sent),
            State::Unsent | State::Over => None,
        }
    }
}

impl fmt::Debug for UploadCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadCount")
            .field("sent", &self.sent())
            .finish_non_exhaustive()
    }
}

impl Sending {
    fn report(&mut self, job: &Core) {
        let news = (self.sent, self.total);
        if self.reported.replace(news) != Some(news) {
            job.report_upload(self.id, Report::bytes(self.sent, self.total));
        }
    }
}

/// The job of the stack that is being called.
fn job_of_call() -> Option<Arc<Core>> {
    context::is_calling().then(context::current).flatten()
}
