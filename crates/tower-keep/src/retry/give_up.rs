//! Giving up: the reason and attempt count (`GaveUp`), and the `on_give_up` hook.

use std::{error::Error, fmt};

use crate::{error::BoxError, event::GiveUpReason};

/// Why a retry gave up, and after how many attempts: for [`RetryLayer::on_give_up`].
///
/// It is also an error type, for callers that need this information. Set the last error as its
/// source with [`caused_by`](Self::caused_by).
///
/// [`RetryLayer::on_give_up`]: super::RetryLayer::on_give_up
#[derive(Debug)]
pub struct GaveUp {
    reason: GiveUpReason,
    attempts: u32,
    cause: Option<BoxError>,
}

impl GaveUp {
    /// The reason, and the number of attempts including the first.
    #[must_use]
    pub fn new(reason: GiveUpReason, attempts: u32) -> Self {
        Self {
            reason,
            attempts,
            cause: None,
        }
    }

    /// Sets the last error as the [`source`](Error::source).
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<BoxError>) -> Self {
        self.cause = Some(error.into());
        self
    }

    /// The reason for giving up.
    #[must_use]
    pub fn reason(&self) -> GiveUpReason {
        self.reason
    }

    /// The number of attempts, including the first.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.attempts;
        let plural = if attempts == 1 { "" } else { "s" };
        write!(
            f,
            "gave up after {attempts} attempt{plural}: {}",
            self.reason
        )
    }
}

impl Error for GaveUp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Decides the outcome that the caller gets.
#[diagnostic::on_unimplemented(
    message = "the hook given to `on_give_up` does not take `Result<{Response}, {Error}>`",
    label = "the service's result is `Result<{Response}, {Error}>`",
    note = "the hook has to be an `Fn(Result<{Response}, {Error}>, GaveUp) -> Result<{Response}, {Error}>`"
)]
pub trait OnGiveUp<Response, Error>: sealed::Sealed {
    /// Returns the outcome for the caller.
    #[doc(hidden)]
    fn give_up(&self, outcome: Result<Response, Error>, why: GaveUp) -> Result<Response, Error>;
}

/// Returns the last outcome unchanged. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepOutcome;

impl<Response, Error> OnGiveUp<Response, Error> for KeepOutcome {
    #[inline(always)]
    fn give_up(&self, outcome: Result<Response, Error>, _: GaveUp) -> Result<Response, Error> {
        outcome
    }
}

/// Replaces the last outcome by the result of a closure. Made by
/// [`RetryLayer::on_give_up`](super::RetryLayer::on_give_up).
#[derive(Clone, Copy)]
pub struct GiveUpWith<F>(pub(super) F);

#[diagnostic::do_not_recommend]
impl<F, Response, Error> OnGiveUp<Response, Error> for GiveUpWith<F>
where
    F: Fn(Result<Response, Error>, GaveUp) -> Result<Response, Error>,
{
    fn give_up(&self, outcome: Result<Response, Error>, why: GaveUp) -> Result<Response, Error> {
        (self.0)(outcome, why)
    }
}

impl<F> fmt::Debug for GiveUpWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GiveUpWith").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::KeepOutcome {}
    impl<F> Sealed for super::GiveUpWith<F> {}
}
