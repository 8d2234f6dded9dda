//! What a layer does when *it* stops a call.
//!
//! | | the caller sees | `type Error` |
//! |---|---|---|
//! | default, [`Fail`] | an error with the typed reason inside | [`BoxError`] |
//! | `.fail_with(AppError::Timeout)`, [`FailWith`] | the user's own error | what the closure returns |
//! | `.respond_with(\|why\| response)`, [`RespondWith`] | an `Ok` response | the inner service's |
//!
//! With the third, a layer goes straight into `axum::Router::layer` or in front of a hyper server.

use std::fmt;

use crate::error::BoxError;

/// Turns a layer's reason into what the caller sees, and passes on the inner service's errors.
pub trait OnReject<Reason, Response, InnerError> {
    /// The error type of the service that the layer makes.
    type Error;

    /// The layer stopped the call for this reason.
    ///
    /// # Errors
    ///
    /// Whatever the mode makes of the reason; [`RespondWith`] never fails.
    fn reject(&self, reason: Reason) -> Result<Response, Self::Error>;

    /// The inner service failed by itself.
    fn pass(&self, error: InnerError) -> Self::Error;

    /// Whether [`reject`](Self::reject) answers with a response.
    fn responds(&self) -> bool {
        false
    }
}

/// Fails with a [`BoxError`] that holds the typed reason. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fail;

impl<Reason, Response, InnerError> OnReject<Reason, Response, InnerError> for Fail
where
    Reason: Into<BoxError>,
    InnerError: Into<BoxError>,
{
    type Error = BoxError;

    #[inline]
    fn reject(&self, reason: Reason) -> Result<Response, BoxError> {
        Err(reason.into())
    }

    #[inline]
    fn pass(&self, error: InnerError) -> BoxError {
        error.into()
    }
}

/// Fails with the user's own error type.
#[derive(Clone, Copy)]
pub struct FailWith<F>(pub(crate) F);

impl<F, Reason, Response, InnerError, Error> OnReject<Reason, Response, InnerError> for FailWith<F>
where
    F: Fn(Reason) -> Error,
    InnerError: Into<Error>,
{
    type Error = Error;

    #[inline]
    fn reject(&self, reason: Reason) -> Result<Response, Error> {
        Err((self.0)(reason))
    }

    #[inline]
    fn pass(&self, error: InnerError) -> Error {
        error.into()
    }
}

/// Answers with a response and leaves the inner error type untouched.
#[derive(Clone, Copy)]
pub struct RespondWith<F>(pub(crate) F);

impl<F, Reason, Response, InnerError> OnReject<Reason, Response, InnerError> for RespondWith<F>
where
    F: Fn(Reason) -> Response,
{
    type Error = InnerError;

    #[inline]
    fn reject(&self, reason: Reason) -> Result<Response, InnerError> {
        Ok((self.0)(reason))
    }

    #[inline]
    fn pass(&self, error: InnerError) -> InnerError {
        error
    }

    fn responds(&self) -> bool {
        true
    }
}

impl<F> fmt::Debug for FailWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FailWith")
            .field(&std::any::type_name::<F>())
            .finish()
    }
}

impl<F> fmt::Debug for RespondWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RespondWith")
            .field(&std::any::type_name::<F>())
            .finish()
    }
}
