//! A closure together with the type of the request that it takes.

use std::{fmt, marker::PhantomData};

/// A closure that takes `&Request`.
///
/// The type of the request stands beside the closure, so that a service of another request is a missing impl, whose error
/// says what is wrong, rather than a mismatch of closures.
pub(crate) struct ForRequest<F, Request> {
    closure: F,
    request: PhantomData<fn(&Request)>,
}

impl<F, Request> ForRequest<F, Request> {
    pub(crate) const fn new(closure: F) -> Self {
        Self {
            closure,
            request: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> &F {
        &self.closure
    }
}

impl<F: Clone, Request> Clone for ForRequest<F, Request> {
    fn clone(&self) -> Self {
        Self::new(self.closure.clone())
    }
}

impl<F: Copy, Request> Copy for ForRequest<F, Request> {}

impl<F, Request> fmt::Debug for ForRequest<F, Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForRequest").finish_non_exhaustive()
    }
}
