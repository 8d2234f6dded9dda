//! A closure that takes a request, in a form whose compile error says what is wrong.

use std::fmt;

/// A closure that takes `&Request`, or what stands for one.
///
/// A closure fits by one impl, a [`ForRequest`] by another. Of two impls that could both be meant and do not fit, the
/// compiler says that the trait is not implemented, rather than that a closure's types differ. So the first line of the
/// error is the one of the trait that asks for this, and a `fn` of a borrowed request serves any lifetime.
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
