//! Shares an execution's error between the callers that joined it.

use std::sync::Arc;

use super::super::{
    bounds::CloneError,
    error::{Duplicate, SharedError},
};
use crate::{
    error::BoxError,
    reject::{Fail, FailWith, RespondWith},
};

/// Shares an error between several callers.
pub trait ShareError<Error> {
    /// The shared form of the error.
    type Shared: Clone + Send + Sync + 'static;
    /// The error that each caller gets.
    type Given;

    /// Makes the error shareable.
    fn share(error: Error) -> Self::Shared;

    /// Makes the error of one caller. A lone caller gets the original error.
    fn give(&self, shared: Self::Shared) -> Self::Given;
}

impl<Error: Into<BoxError>> ShareError<Error> for Fail {
    type Shared = Arc<BoxError>;
    type Given = BoxError;

    fn share(error: Error) -> Arc<BoxError> {
        Arc::new(error.into())
    }

    fn give(&self, shared: Arc<BoxError>) -> BoxError {
        Arc::try_unwrap(shared).unwrap_or_else(|shared| SharedError(shared).into())
    }
}

impl<F, Given, Error> ShareError<Error> for FailWith<F>
where
    F: Fn(Duplicate) -> Given,
    Error: Into<Given> + CloneError,
{
    type Shared = Error;
    type Given = Given;

    fn share(error: Error) -> Error {
        error
    }

    fn give(&self, shared: Error) -> Given {
        shared.into()
    }
}

impl<F, Error> ShareError<Error> for RespondWith<F>
where
    Error: CloneError,
{
    type Shared = Error;
    type Given = Error;

    fn share(error: Error) -> Error {
        error
    }

    fn give(&self, shared: Error) -> Error {
        shared
    }
}
