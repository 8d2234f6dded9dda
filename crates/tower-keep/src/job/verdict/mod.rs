//! Verdicts: how a layer tells its outer layers that it stopped a call, and how results are
//! classified.
//!
//! The error type cannot carry this. It may be the user's own type, or the layer answered with a
//! response. So the layer leaves a verdict on the thread when its future is ready, and its outer
//! layers read it in the same poll. The outermost layer of the stack removes it.
//!
//! A verdict adds facts and does not overrule. A layer with its own classifier or policy follows
//! that. Only a gate's rejection stays a rejection: it is never counted or retried. An explanation
//! may accompany the verdict: the causes of an error, or a classifier's description of a response.

mod kind;

use std::{error::Error, fmt, sync::Arc};

use super::context;
use crate::error_text::{begins_with, describe_error};

pub(crate) use self::kind::{Carried, Explanation, Verdict, VerdictKind};

#[inline(always)]
pub(crate) fn leave(kind: VerdictKind, responded: bool) {
    // The verdict on an earlier result is obsolete.
    clear();
    leave_verdict(Verdict {
        kind,
        responded,
        forbids: false,
    });
}

#[inline(always)]
fn leave_verdict(verdict: Verdict) {
    context::set_verdict(Some(verdict));
}

/// Adds to the verdict that no retry may follow.
pub(crate) fn forbid<T, E>(result: &Result<T, E>) {
    let verdict = read()
        .filter(|verdict| verdict.holds(result))
        .unwrap_or(Verdict {
            kind: VerdictKind::Forbidden,
            responded: result.is_ok(),
            forbids: true,
        });
    leave_verdict(Verdict {
        forbids: true,
        ..verdict
    });
}

/// Records that a classifier or policy calls this response a failure. An inner layer's verdict
/// stays the cause.
pub(crate) fn fail(description: Option<Arc<str>>) {
    let verdict = read().filter(|verdict| verdict.responded);
    let kind = match verdict {
        Some(verdict) if verdict.kind != VerdictKind::Forbidden => verdict.kind,
        _ => VerdictKind::Failure,
    };
    leave_verdict(Verdict {
        kind,
        responded: true,
        forbids: verdict.is_some_and(|verdict| verdict.forbids),
    });
    if let Some(description) = description {
        describe(description, true);
    }
}

/// Records the description of the current result by a classifier or a rejecting layer.
pub(crate) fn describe(text: Arc<str>, of_response: bool) {
    let description = Explanation::Description { text, of_response };
    context::set_explanation(Some(Arc::new(description)));
}

/// Records that the classifier calls this response a success, even if an inner limit expired. A
/// gate's rejection stays: the service has not seen the call.
pub(crate) fn succeed() {
    match read() {
        None => {}
        Some(verdict) if verdict.kind.is_gate() => {}
        Some(verdict) if verdict.forbids => leave_verdict(Verdict {
            kind: VerdictKind::Forbidden,
            ..verdict
        }),
        Some(_) => {
            carry();
        }
    }
}

/// A response replaced the current result: only the ban on retries remains.
pub(crate) fn replace() {
    let forbids = read().is_some_and(|verdict| verdict.forbids);
    clear();
    if forbids {
        leave_verdict(Verdict {
            kind: VerdictKind::Forbidden,
            responded: true,
            forbids,
        });
    }
}

/// Records the causes of this error, for outer layers that know only its `Display`.
#[cold]
pub(crate) fn explain<E: fmt::Display>(error: &E, known: &(dyn Error + 'static)) {
    let is_explained = match context::explanation().as_deref() {
        Some(Explanation::Causes(causes)) => begins_with(causes, error),
        Some(Explanation::Description { of_response, .. }) => !of_response,
        None => false,
    };
    if !is_explained {
        let causes = describe_error(known).into();
        context::set_explanation(Some(Arc::new(Explanation::Causes(causes))));
    }
}

/// The failure text of this result, from the verdict and its explanation.
pub(crate) fn text<T, E: fmt::Display>(result: &Result<T, E>) -> Arc<str> {
    peek().text(result)
}

#[inline(always)]
pub(crate) fn read() -> Option<Verdict> {
    context::current_verdict()
}

/// Takes the verdict and its explanation off the thread.
#[inline(always)]
pub(crate) fn carry() -> Carried {
    context::take_verdict()
}

/// Whether the result of other code left something on the thread.
#[cfg(feature = "http")]
#[inline(always)]
pub(crate) fn is_left() -> bool {
    context::has_verdict()
}

/// Copies the verdict and its explanation.
pub(crate) fn peek() -> Carried {
    Carried::new(read(), context::explanation())
}

/// Puts back a verdict that was taken.
pub(crate) fn leave_carried(carried: Carried) {
    context::put_verdict(carried);
}

#[inline(always)]
pub(crate) fn clear() {
    context::clear_verdict();
}

/// Runs `drop_inner` and tells the guards that it drops why.
pub(crate) fn dropping<T>(kind: VerdictKind, drop_inner: impl FnOnce() -> T) -> T {
    let _dropping = context::drop_for(Some(kind));
    drop_inner()
}

/// Runs `drop_inner` as if no layer around dropped it: the layers around belong to another stack.
#[cfg(feature = "http")]
pub(crate) fn dropping_apart<T>(drop_inner: impl FnOnce() -> T) -> T {
    let _dropping = context::drop_for(None);
    drop_inner()
}

/// Why a layer of this library is dropping the current future, if one does.
pub(crate) fn dropped_by() -> Option<VerdictKind> {
    context::dropping()
}
