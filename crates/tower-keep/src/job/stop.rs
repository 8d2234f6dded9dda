//! How a layer tells the layers around it that it stopped a call itself.
//!
//! The error type cannot say it: it may be the user's own, or there may be none because the layer answered with a
//! response. So the layer leaves a note on the thread when its future is ready, and the layers around it read it in
//! the same poll. The outermost layer of the stack takes it away.

use std::cell::Cell;

use super::local::Local as _;

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
        matches!(self, Self::CircuitOpen | Self::Duplicate | Self::Cancelled)
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::TimedOut => "the overall time limit expired",
            Self::AttemptTimedOut => "the time limit of the attempt expired",
            Self::CircuitOpen => "the circuit is open",
            Self::Duplicate => "an identical request is in flight",
            Self::Cancelled => "the job was cancelled",
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
}

#[inline(always)]
pub(crate) fn leave(kind: StopKind, responded: bool) {
    leave_again(Stop {
        kind,
        responded,
        forbids: false,
    });
}

/// Leaves a note as it was taken away before.
#[inline(always)]
pub(crate) fn leave_again(stop: Stop) {
    STOP.write(Some(stop));
}

/// Notes that no retry may follow, beside what is noted of this result already.
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

/// Notes that a classifier calls this response a failure, unless a layer inside has noted more than that no retry may
/// follow.
#[inline(always)]
pub(crate) fn classified(is_failure: impl FnOnce() -> bool) {
    let stop = read();
    let open = match stop {
        None => true,
        Some(stop) => stop.kind == StopKind::Forbidden,
    };
    if open && is_failure() {
        leave_again(Stop {
            kind: StopKind::Failure,
            responded: true,
            forbids: stop.is_some_and(|stop| stop.forbids),
        });
    }
}

#[inline(always)]
pub(crate) fn read() -> Option<Stop> {
    STOP.read()
}

#[inline(always)]
pub(crate) fn take() -> Option<Stop> {
    STOP.exchange(None)
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
