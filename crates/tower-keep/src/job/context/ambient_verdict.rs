//! The ambient verdict: what inner layers say of a result or a panic, for outer layers.

use std::sync::Arc;

use super::{
    Context, Restore,
    current_job::{is_calling, with_current},
    with,
};
use crate::{
    event::JobId,
    job::verdict::{Carried, Explanation, Verdict, VerdictKind},
};

impl Context {
    #[inline(always)]
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.get().map(|kind| {
            let (responded, forbids) = self.stop_marks.get();
            Verdict {
                kind,
                responded,
                forbids,
            }
        })
    }

    #[inline(always)]
    pub(super) fn set_verdict(&self, verdict: Option<Verdict>) {
        self.verdict.set(verdict.map(|verdict| verdict.kind));
        if let Some(verdict) = verdict {
            self.stop_marks.set((verdict.responded, verdict.forbids));
        }
    }

    #[inline(always)]
    pub(super) fn take_verdict(&self) -> Carried {
        let mut explanation = None;
        if !self.explanation.look(|explanation| explanation.is_none()) {
            self.explanation.swap(&mut explanation);
        }
        let verdict = self.verdict();
        self.verdict.set(None);
        Carried::new(verdict, explanation)
    }

    pub(super) fn put_verdict(&self, carried: Carried) {
        let (verdict, mut explanation) = carried.into_parts();
        self.set_verdict(verdict);
        self.explanation.swap(&mut explanation);
    }
}

#[inline(always)]
pub(in crate::job) fn current_verdict() -> Option<Verdict> {
    with(Context::verdict)
}

#[inline(always)]
pub(in crate::job) fn set_verdict(verdict: Option<Verdict>) {
    with(|context| context.set_verdict(verdict));
}

pub(in crate::job) fn explanation() -> Option<Arc<Explanation>> {
    with(|context| context.explanation.get())
}

pub(in crate::job) fn set_explanation(mut explanation: Option<Arc<Explanation>>) {
    // The previous value is dropped outside the slot, at the end.
    with(|context| context.explanation.swap(&mut explanation));
}

/// Removes the verdict unread.
#[inline(always)]
pub(in crate::job) fn clear_verdict() {
    with(|context| {
        context.verdict.set(None);
        if context
            .explanation
            .look(|explanation| explanation.is_some())
        {
            set_explanation(None);
        }
    });
}

/// Whether there is a verdict or an explanation.
#[cfg(feature = "http")]
#[inline(always)]
pub(in crate::job) fn has_verdict() -> bool {
    with(|context| {
        context.verdict.get().is_some()
            || (context.explanation).look(|explanation| explanation.is_some())
    })
}

/// Takes the verdict.
#[inline(always)]
pub(in crate::job) fn take_verdict() -> Carried {
    with(Context::take_verdict)
}

pub(in crate::job) fn put_verdict(carried: Carried) {
    with(|context| context.put_verdict(carried));
}

/// Why an outer layer is dropping this future, if one does.
pub(in crate::job) fn dropping() -> Option<VerdictKind> {
    with(|context| context.dropping.get())
}

pub(in crate::job) fn drop_for(kind: Option<VerdictKind>) -> Restore<Option<VerdictKind>> {
    Restore::set(|context| &context.dropping, kind)
}

/// A closure that a layer runs before it calls the service is panicking.
#[cold]
pub(in crate::job) fn note_panic_before_service() {
    // Otherwise the ambient job is an outer job, whose own code runs.
    if is_calling() {
        let job = with_current(|job| job.map(|job| job.id()));
        with(|context| context.before_service.set(job));
    }
}

pub(in crate::job) fn take_panic_before_service() -> Option<JobId> {
    with(|context| context.before_service.take())
}
