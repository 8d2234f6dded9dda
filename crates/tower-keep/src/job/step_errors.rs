//! The error type of a step: the future's own, a converted one, or any type if nothing can stop the
//! step.

use std::{fmt, marker::PhantomData};

use super::error::{Cancelled, Elapsed};

/// The error type of a step whose future fails with `Error`.
#[diagnostic::on_unimplemented(
    message = "a step that fails with `{Error}` cannot be stopped: `{Error}` is not `From<Cancelled>` and `From<Elapsed>`",
    label = "cannot fail as cancelled or timed out",
    note = "`.err_into::<AppError>()` converts the error into a type that is; `.uninterrupted()` runs a step that nothing stops"
)]
pub trait StepErrors<Error> {
    /// The error type of the step.
    type Error;

    /// Whether a cancellation or a limit can stop the step.
    const STOPS: bool;

    /// The error of the future itself.
    fn own(error: Error) -> Self::Error;

    /// The error of a job that was cancelled before the step began.
    fn cancelled(why: Cancelled) -> Self::Error;

    /// The error of an expired limit.
    fn elapsed(why: Elapsed) -> Self::Error;
}

/// A step that a cancellation or a limit can stop: any step but an `Uninterrupted` one.
pub trait Stoppable {}

/// The step has the error type of its future. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnError;

impl Stoppable for OwnError {}

#[diagnostic::do_not_recommend]
impl<E: From<Cancelled> + From<Elapsed>> StepErrors<E> for OwnError {
    type Error = E;

    const STOPS: bool = true;

    fn own(error: E) -> E {
        error
    }

    fn cancelled(why: Cancelled) -> E {
        why.into()
    }

    fn elapsed(why: Elapsed) -> E {
        why.into()
    }
}

/// The step's errors are converted into this type. Set by `Step::err_into`.
pub struct IntoError<E>(PhantomData<fn() -> E>);

impl<E> Stoppable for IntoError<E> {}

impl<F: Into<E>, E: From<Cancelled> + From<Elapsed>> StepErrors<F> for IntoError<E> {
    type Error = E;

    const STOPS: bool = true;

    fn own(error: F) -> E {
        error.into()
    }

    fn cancelled(why: Cancelled) -> E {
        why.into()
    }

    fn elapsed(why: Elapsed) -> E {
        why.into()
    }
}

impl<E> fmt::Debug for IntoError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntoError")
    }
}

/// Nothing stops the step, so any error type is allowed. Set by `Step::uninterrupted`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uninterrupted;

impl<E> StepErrors<E> for Uninterrupted {
    type Error = E;

    const STOPS: bool = false;

    fn own(error: E) -> E {
        error
    }

    fn cancelled(why: Cancelled) -> E {
        unreachable!("nothing stops an uninterrupted step: {why}")
    }

    fn elapsed(why: Elapsed) -> E {
        unreachable!("nothing stops an uninterrupted step: {why}")
    }
}
