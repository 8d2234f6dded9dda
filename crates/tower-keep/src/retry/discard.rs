//! Discarding a response before another attempt: it is dropped, or read during the wait.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Discards a response that another attempt follows.
#[diagnostic::on_unimplemented(
    message = "the retry cannot discard `{Response}`: it is not an HTTP response with a body",
    label = "the service answers with `{Response}`",
    note = "the body of an `http::Response` has to implement `http_body::Body`"
)]
pub trait DiscardOutcome<Response>: sealed::Sealed {
    /// Reads what is left of a response, so that its connection can be used again. It is polled
    /// during the wait before the next attempt, at least once, and dropped at the end of the wait.
    type Drain: Future<Output = ()>;

    /// Whether there is ever a [`Drain`](Self::Drain).
    #[doc(hidden)]
    const DRAINS: bool;

    /// Whether an accepted response may be resumed. Its attempt then ends with its body.
    #[doc(hidden)]
    const RESUMES: bool = false;

    /// Takes the response. `None`: nothing is left to read, or it is not worth it.
    #[doc(hidden)]
    fn discard(&self, response: Response) -> Option<Self::Drain>;
}

/// Drops the response before the wait. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropOutcome;

/// The future of a hook that drops each response. It has no value, and so takes no place in the
/// call's future.
#[derive(Debug)]
pub enum NoDrain {}

impl Future for NoDrain {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match *self {}
    }
}

#[diagnostic::do_not_recommend]
impl<Response> DiscardOutcome<Response> for DropOutcome {
    type Drain = NoDrain;

    const DRAINS: bool = false;

    #[inline(always)]
    fn discard(&self, _: Response) -> Option<NoDrain> {
        None
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::DropOutcome {}
}

#[cfg(test)]
mod tests;
