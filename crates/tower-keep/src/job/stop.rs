//! How a layer tells the layers around it that it stopped a call itself, and what a result means.
//!
//! The error type cannot say it: it may be the user's own, or there may be none because the layer
//! answered with a response. So the layer leaves a note on the thread when its future is ready, and
//! the layers around it read it in the same poll. The outermost layer of the stack takes it away.
//!
//! A note adds facts; it does not overrule. A layer that was given a classifier or a policy goes by
//! that. Only a gate's rejection remains a rejection: it is never counted or retried. Next to the note there may be a
//! text: the causes of an error, or what a classifier says of a response.

use std::{cell::Cell, error::Error, fmt, sync::Arc};

use crate::{
    error_text::{describe_error, text_of},
    event::FailureCause,
};

use super::local::{Local as _, Slot};

/// Which kind of stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopKind {
    /// An overall limit: the job is over.
    TimedOut,
    /// The limit of one attempt: another may follow.
    AttemptTimedOut,
    CircuitOpen,
    Duplicate,
    Cancelled,
    /// A gate that is not one of our layers turned the call away.
    Rejected,
    /// An execution that this call had joined panicked.
    Panicked,
    /// A classifier called this result a failure.
    Failure,
    /// A retry's policy forbade any other attempt, and there is no more to say of the result.
    Forbidden,
}

impl StopKind {
    /// The call was turned away before the service saw it.
    pub(crate) fn is_gate(self) -> bool {
        matches!(
            self,
            Self::CircuitOpen | Self::Duplicate | Self::Cancelled | Self::Rejected
        )
    }

    /// Why a job that ends with this failed.
    pub(crate) fn cause(self) -> FailureCause {
        match self {
            Self::TimedOut | Self::AttemptTimedOut => FailureCause::TimedOut,
            Self::CircuitOpen => FailureCause::CircuitOpen,
            Self::Duplicate => FailureCause::Duplicate,
            Self::Rejected => FailureCause::Rejected,
            Self::Panicked => FailureCause::Panicked,
            Self::Cancelled | Self::Failure | Self::Forbidden => FailureCause::Error,
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::TimedOut => "the overall time limit expired",
            Self::AttemptTimedOut => "the time limit of the attempt expired",
            Self::CircuitOpen => "the circuit is open",
            Self::Duplicate => "an identical request is in flight",
            Self::Cancelled => "the job was cancelled",
            Self::Rejected => "a layer rejected the call",
            Self::Panicked => "the execution of the request panicked",
            Self::Failure => "the response is classified as a failure",
            Self::Forbidden => "no other attempt is allowed",
        }
    }
}

/// A layer's note that it stopped the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) kind: StopKind,
    /// The layer answered with a response, so that `Ok` does not mean success.
    pub(crate) responded: bool,
    /// A retry's policy forbade any other attempt, whatever else there is to say of the result.
    pub(crate) forbids: bool,
}

impl Stop {
    /// Whether this note still holds for the result that came up: where somebody in between turned a layer's error
    /// into a response, it does not.
    pub(crate) fn holds<T, E>(&self, result: &Result<T, E>) -> bool {
        result.is_err() || self.responded
    }
}

thread_local! {
    static STOP: Cell<Option<Stop>> = const { Cell::new(None) };
    static DROPPING: Cell<Option<StopKind>> = const { Cell::new(None) };
    /// Whether there is a text: looked at first, as there rarely is.
    static EXPLAINED: Cell<bool> = const { Cell::new(false) };
    static EXPLANATION: Slot<Explanation> = const { Slot::new() };
}

/// What is left of the result in hand, next to the note.
#[derive(Clone, Debug)]
pub(crate) enum Explanation {
    /// An error and its causes, of use as long as the result is that error.
    Causes(Arc<str>),
    /// What a classifier or a rejecting layer says of the result, of use as long as that is still a
    /// response, or still an error.
    Description { text: Arc<str>, of_response: bool },
}

/// A note and its text on the way to another task or thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) stop: Option<Stop>,
    explanation: Option<Arc<Explanation>>,
}

impl Carried {
    /// The text of a failure with this result.
    pub(crate) fn text<T, E: fmt::Display>(&self, result: &Result<T, E>) -> Arc<str> {
        match (result, self.explanation.as_deref()) {
            (_, Some(Explanation::Description { text, of_response }))
                if *of_response == result.is_ok() =>
            {
                text.clone()
            }
            (Err(error), Some(Explanation::Causes(causes))) => with_causes(error, causes),
            (Err(error), _) => text_of(error),
            (Ok(_), _) => {
                let kind = self.stop.map_or(StopKind::Failure, |stop| stop.kind);
                kind.describe().into()
            }
        }
    }

    /// Leaves both as they were taken away before.
    pub(crate) fn leave(self) {
        STOP.write(self.stop);
        set_explanation(self.explanation);
    }
}

#[inline(always)]
pub(crate) fn leave(kind: StopKind, responded: bool) {
    // What a result before this one said is over.
    clear();
    leave_again(Stop {
        kind,
        responded,
        forbids: false,
    });
}

#[inline(always)]
fn leave_again(stop: Stop) {
    STOP.write(Some(stop));
}

/// Notes that no retry may follow, next to what is noted of this result already.
pub(crate) fn forbid<T, E>(result: &Result<T, E>) {
    let stop = read().filter(|stop| stop.holds(result)).unwrap_or(Stop {
        kind: StopKind::Forbidden,
        responded: result.is_ok(),
        forbids: true,
    });
    leave_again(Stop {
        forbids: true,
        ..stop
    });
}

/// Notes that this response is a failure to the classifier or policy that calls this. What a layer
/// inside noted of the call stays the cause.
pub(crate) fn fail(description: Option<Arc<str>>) {
    let stop = read().filter(|stop| stop.responded);
    let kind = match stop {
        Some(stop) if stop.kind != StopKind::Forbidden => stop.kind,
        _ => StopKind::Failure,
    };
    leave_again(Stop {
        kind,
        responded: true,
        forbids: stop.is_some_and(|stop| stop.forbids),
    });
    if let Some(description) = description {
        describe(description, true);
    }
}

/// What a classifier or a rejecting layer says of the result in hand, a response or an error.
pub(crate) fn describe(text: Arc<str>, of_response: bool) {
    let description = Explanation::Description { text, of_response };
    set_explanation(Some(Arc::new(description)));
}

/// This response is no failure to the classifier that calls this, even if a limit inside expired. A
/// gate's rejection remains one: the service has not seen the call.
pub(crate) fn succeed() {
    match read() {
        None => {}
        Some(stop) if stop.kind.is_gate() => {}
        Some(stop) if stop.forbids => leave_again(Stop {
            kind: StopKind::Forbidden,
            ..stop
        }),
        Some(_) => {
            carry();
        }
    }
}

/// A response took the place of the result in hand: of all that was noted only holds that no retry
/// may follow.
pub(crate) fn replace() {
    let forbids = read().is_some_and(|stop| stop.forbids);
    clear();
    if forbids {
        leave_again(Stop {
            kind: StopKind::Forbidden,
            responded: true,
            forbids,
        });
    }
}

/// The causes of this error, for a layer around that knows no more than its `Display`.
#[cold]
pub(crate) fn explain<E: fmt::Display>(error: &E, known: &(dyn Error + 'static)) {
    let is_explained = match explanation().as_deref() {
        Some(Explanation::Causes(causes)) => causes.starts_with(&*text_of(error)),
        Some(Explanation::Description { of_response, .. }) => !of_response,
        None => false,
    };
    if !is_explained {
        let causes = describe_error(known).into();
        set_explanation(Some(Arc::new(Explanation::Causes(causes))));
    }
}

/// The causes, if they are of this error: a layer in between may have made another one of it.
fn with_causes<E: fmt::Display>(error: &E, causes: &Arc<str>) -> Arc<str> {
    let text = text_of(error);
    if causes.starts_with(&*text) {
        causes.clone()
    } else {
        text
    }
}

/// The text of a failure with this result, as the note and its text have it.
pub(crate) fn text<T, E: fmt::Display>(result: &Result<T, E>) -> Arc<str> {
    peek().text(result)
}

fn explanation() -> Option<Arc<Explanation>> {
    if !EXPLAINED.read() {
        return None;
    }
    EXPLANATION
        .try_with(|slot| slot.look(|explanation| explanation.cloned()))
        .unwrap_or(None)
}

fn set_explanation(mut explanation: Option<Arc<Explanation>>) {
    EXPLAINED.write(explanation.is_some());
    // The one before is dropped here.
    let _ = EXPLANATION.try_with(|slot| slot.swap(&mut explanation));
}

#[inline(always)]
pub(crate) fn read() -> Option<Stop> {
    STOP.read()
}

/// Takes the note and its text away.
#[inline(always)]
pub(crate) fn carry() -> Carried {
    let explained = EXPLAINED.read();
    Carried {
        stop: STOP.exchange(None),
        explanation: if explained { take_explanation() } else { None },
    }
}

/// The note and its text, which stay.
pub(crate) fn peek() -> Carried {
    Carried {
        stop: read(),
        explanation: explanation(),
    }
}

#[inline(always)]
pub(crate) fn clear() {
    drop(carry());
}

#[cold]
fn take_explanation() -> Option<Arc<Explanation>> {
    let explanation = explanation();
    set_explanation(None);
    explanation
}

/// Runs `drop_inner`, telling the guards that it drops why they go.
pub(crate) fn dropping<T>(kind: StopKind, drop_inner: impl FnOnce() -> T) -> T {
    struct Restore(Option<StopKind>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DROPPING.write(self.0);
        }
    }
    let _restore = Restore(DROPPING.exchange(Some(kind)));
    drop_inner()
}

/// Why the layer around is dropping this future, if one of ours does.
pub(crate) fn dropped_by() -> Option<StopKind> {
    DROPPING.read()
}
