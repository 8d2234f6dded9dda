//! How a layer tells the layers around it that it stopped a call itself, and what a result means.
//!
//! The error type cannot say it: it may be the user's own, or there may be none because the layer
//! answered with a response. So the layer leaves a note on the thread when its future is ready, and
//! the layers around it read it in the same poll. The outermost layer of the stack takes it away.
//!
//! A note adds facts; it does not overrule. A layer that was given a classifier or a policy goes by
//! that. Only a gate's rejection remains a rejection: it is never counted or retried. Next to the note there may be a
//! text: the causes of an error, or what a classifier says of a response.

mod kind;

use std::{error::Error, fmt, sync::Arc};

use super::context;
use crate::error_text::{begins_with, describe_error};

pub(crate) use self::kind::{Carried, Explanation, Verdict, VerdictKind};

#[inline(always)]
pub(crate) fn leave(kind: VerdictKind, responded: bool) {
    // What a result before this one said is over.
    clear();
    leave_again(Verdict {
        kind,
        responded,
        forbids: false,
    });
}

#[inline(always)]
fn leave_again(verdict: Verdict) {
    context::set_said(Some(verdict));
}

/// Notes that no retry may follow, next to what is noted of this result already.
pub(crate) fn forbid<T, E>(result: &Result<T, E>) {
    let verdict = read()
        .filter(|verdict| verdict.holds(result))
        .unwrap_or(Verdict {
            kind: VerdictKind::Forbidden,
            responded: result.is_ok(),
            forbids: true,
        });
    leave_again(Verdict {
        forbids: true,
        ..verdict
    });
}

/// Notes that this response is a failure to the classifier or policy that calls this. What a layer
/// inside noted of the call stays the cause.
pub(crate) fn fail(description: Option<Arc<str>>) {
    let verdict = read().filter(|verdict| verdict.responded);
    let kind = match verdict {
        Some(verdict) if verdict.kind != VerdictKind::Forbidden => verdict.kind,
        _ => VerdictKind::Failure,
    };
    leave_again(Verdict {
        kind,
        responded: true,
        forbids: verdict.is_some_and(|verdict| verdict.forbids),
    });
    if let Some(description) = description {
        describe(description, true);
    }
}

/// What a classifier or a rejecting layer says of the result in hand, a response or an error.
pub(crate) fn describe(text: Arc<str>, of_response: bool) {
    let description = Explanation::Description { text, of_response };
    context::set_explanation(Some(Arc::new(description)));
}

/// This response is no failure to the classifier that calls this, even if a limit inside expired. A
/// gate's rejection remains one: the service has not seen the call.
pub(crate) fn succeed() {
    match read() {
        None => {}
        Some(verdict) if verdict.kind.is_gate() => {}
        Some(verdict) if verdict.forbids => leave_again(Verdict {
            kind: VerdictKind::Forbidden,
            ..verdict
        }),
        Some(_) => {
            carry();
        }
    }
}

/// A response took the place of the result in hand: of all that was noted only holds that no retry
/// may follow.
pub(crate) fn replace() {
    let forbids = read().is_some_and(|verdict| verdict.forbids);
    clear();
    if forbids {
        leave_again(Verdict {
            kind: VerdictKind::Forbidden,
            responded: true,
            forbids,
        });
    }
}

/// The causes of this error, for a layer around that knows no more than its `Display`.
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

/// The text of a failure with this result, as the note and its text have it.
pub(crate) fn text<T, E: fmt::Display>(result: &Result<T, E>) -> Arc<str> {
    peek().text(result)
}

#[inline(always)]
pub(crate) fn read() -> Option<Verdict> {
    context::said()
}

/// Takes the note and its text away.
#[inline(always)]
pub(crate) fn carry() -> Carried {
    context::take_said()
}

/// The note and its text, which stay.
pub(crate) fn peek() -> Carried {
    Carried::new(read(), context::explanation())
}

/// Leaves what was taken away before.
pub(crate) fn leave_carried(said: Carried) {
    context::put_said(said);
}

#[inline(always)]
pub(crate) fn clear() {
    context::clear_said();
}

/// Runs `drop_inner`, telling the guards that it drops why they go.
pub(crate) fn dropping<T>(kind: VerdictKind, drop_inner: impl FnOnce() -> T) -> T {
    let _dropping = context::drop_for(kind);
    drop_inner()
}

/// Why the layer around is dropping this future, if one of ours does.
pub(crate) fn dropped_by() -> Option<VerdictKind> {
    context::dropping()
}
