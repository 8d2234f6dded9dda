//! A closure with the type of its request parameter, for readable compiler errors.

use std::{fmt, marker::PhantomData};

/// A closure that takes `&Request`.
///
/// The request type is a type parameter. A service with another request type is then a missing
/// impl, with a custom error message, instead of a mismatch of closure types.
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
