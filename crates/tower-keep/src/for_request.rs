//! A closure that takes a request, in a form with a readable compile error.

use std::fmt;

/// A closure that takes `&Request`, or what stands for one.
///
/// A closure implements this in one way, a [`ForRequest`] in another. Where both impls could be
/// meant and neither fits, the compiler says that the trait is not implemented, and not that the
/// types of a closure differ. So the first line of the error is the message of the trait with this
/// bound. A `fn` over a borrowed request serves every lifetime.
pub trait AskRequest<Request, Answer> {
    /// The closure's answer.
    fn ask(&self, request: &Request) -> Answer;
}

#[diagnostic::do_not_recommend]
impl<F, Request, Answer> AskRequest<Request, Answer> for F
where
    F: Fn(&Request) -> Answer,
{
    #[inline(always)]
    fn ask(&self, request: &Request) -> Answer {
        self(request)
    }
}

/// A closure that a setter was given.
#[allow(
    unreachable_pub,
    reason = "no public type has it if Dedup is the only layer"
)]
#[derive(Clone, Copy)]
pub struct ForRequest<F>(pub(crate) F);

#[diagnostic::do_not_recommend]
impl<F, Request, Answer> AskRequest<Request, Answer> for ForRequest<F>
where
    F: AskRequest<Request, Answer>,
{
    #[inline(always)]
    fn ask(&self, request: &Request) -> Answer {
        self.0.ask(request)
    }
}

impl<F> fmt::Debug for ForRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForRequest").finish_non_exhaustive()
    }
}
