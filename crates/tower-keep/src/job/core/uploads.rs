//! Which request body of a job reports its bytes: the newest one, until the response head.

use tokio::time::Instant;

use super::Core;
use crate::{
    event::{EventKind, Report},
    sync::atomic::{AtomicU16, Ordering},
};

/// The number of the newest request body. The lowest bit is set while a body may report.
///
/// A body reports under the job's lock, and only if it has the newest number. The code that
/// changes the number sends its own event afterwards. So no report of an older body follows that event.
///
/// The number is short, so that the job stays small. It comes again after 32768 bodies of one job.
pub(super) struct Uploads(AtomicU16);

const OPEN: u16 = 1;
const NEXT: u16 = 2;

/// The number of one request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UploadId(u16);

impl Uploads {
    pub(super) fn new() -> Self {
        Self(AtomicU16::new(0))
    }

    fn update(&self, next: impl Fn(u16) -> u16) -> u16 {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let order = (Ordering::AcqRel, Ordering::Acquire);
            let next = next(now);
            match self.0.compare_exchange(now, next, order.0, order.1) {
                Ok(_) => return next,
                Err(other) => now = other,
            }
        }
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) & OPEN != 0
    }

    fn is_newest(&self, id: UploadId) -> bool {
        self.0.load(Ordering::Acquire) == id.0
    }

    /// The bodies that have begun report no more.
    pub(super) fn outdate(&self) {
        if self.is_open() {
            self.update(|number| number.wrapping_add(NEXT));
        }
    }
}

impl Core {
    /// A call with a request body begins, and the bytes of that body are the job's progress.
    pub(crate) fn expect_upload(&self) {
        self.uploads
            .update(|number| (number | OPEN).wrapping_add(NEXT));
    }

    /// Whether the bytes of request bodies are the job's progress.
    pub(crate) fn expects_upload(&self) -> bool {
        self.uploads.is_open()
    }

    /// A request body begins to be sent. Older ones report no more. `None`: it came too late.
    pub(crate) fn begin_upload(&self) -> Option<UploadId> {
        if !self.expects_upload() || self.state().is_backing_off() {
            return None;
        }
        let number = (self.uploads).update(|number| match number & OPEN {
            0 => number,
            _ => number.wrapping_add(NEXT),
        });
        (number & OPEN != 0).then_some(UploadId(number))
    }

    /// The response head arrived: no request body of the call reports any more.
    pub(crate) fn end_uploads(&self) {
        if self.expects_upload() {
            self.uploads.update(|number| number & !OPEN);
        }
    }

    /// Whether this body still reports.
    pub(crate) fn is_uploading(&self, id: UploadId) -> bool {
        self.uploads.is_newest(id) && !self.state().is_over()
    }

    /// Reports progress of this body, unless it reports no more.
    pub(crate) fn report_upload(&self, id: UploadId, report: Report) {
        let at = Instant::now();
        let job = self.lock();
        if self.is_uploading(id) {
            let kind = EventKind::Progress(report);
            let step = job.step_of(&kind, None);
            job.emit(kind, at, step);
        }
    }
}
