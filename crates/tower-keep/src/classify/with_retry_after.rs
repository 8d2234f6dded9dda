//! A classifier, extended by the `retry_after` closure of a layer.

use std::{borrow::Cow, fmt, time::Duration};

use super::{Classify, Outcome};

/// A classifier, extended by the `retry_after` closure of a layer.
#[derive(Clone, Copy)]
#[allow(unreachable_pub, reason = "it is in the types of two layers")]
pub struct WithRetryAfter<C, F> {
    pub(crate) classify: C,
    pub(crate) retry_after: F,
}

impl<C, F, Response, Error> Classify<Response, Error> for WithRetryAfter<C, F>
where
    C: Classify<Response, Error>,
    F: Fn(&Result<Response, Error>) -> Option<Duration>,
{
    #[inline]
    fn classify(&self, result: &Result<Response, Error>) -> Outcome {
        self.classify.classify(result)
    }

    fn retry_after(&self, result: &Result<Response, Error>) -> Option<Duration> {
        (self.retry_after)(result).or_else(|| self.classify.retry_after(result))
    }

    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        self.classify.describe(result)
    }

    #[inline]
    fn judges_responses(&self) -> bool {
        self.classify.judges_responses()
    }
}

impl<C: fmt::Debug, F> fmt::Debug for WithRetryAfter<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithRetryAfter")
            .field("classify", &self.classify)
            .finish_non_exhaustive()
    }
}
