//! What counts as a success: one notion for Retry, CircuitBreaker and Log.

/// What an outcome means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It worked.
    Success,
    /// It failed: a circuit counts it, a retry may follow, the job ends as failed.
    Failure,
    /// It says nothing about the service: a circuit does not count it, no retry follows.
    Ignored,
}

/// Tells successes from failures.
///
/// Any `Fn(&Result<Response, Error>) -> Outcome` is a classifier. It runs outside every lock.
pub trait Classify<Response, Error> {
    /// What this result means.
    fn classify(&self, result: &Result<Response, Error>) -> Outcome;
}

impl<F, Response, Error> Classify<Response, Error> for F
where
    F: Fn(&Result<Response, Error>) -> Outcome,
{
    fn classify(&self, result: &Result<Response, Error>) -> Outcome {
        self(result)
    }
}

/// The default: `Ok` is a success, `Err` a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsAsFailures;

impl<Response, Error> Classify<Response, Error> for ErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<Response, Error>) -> Outcome {
        if result.is_ok() {
            Outcome::Success
        } else {
            Outcome::Failure
        }
    }
}
