//! What the test programs share. It also compiles and runs all Rust code of the README.

mod checked_events;
mod layers;
mod lines;
mod results;
pub mod servers;
mod services;

pub use tower_keep_test::{ms, secs};

pub use self::{checked_events::CheckedEvents, layers::*, lines::Lines, results::*, services::*};

/// What the README's example of a missing bound lacks: with it, the same call compiles.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_keep::{BoxError, RetryLayer};
///
/// #[derive(Clone)]
/// struct Upload;
///
/// async fn upload() -> Result<(), BoxError> {
///     let stack = ServiceBuilder::new()
///         .layer(RetryLayer::new())
///         .service(service_fn(|_: Upload| async { Ok::<_, BoxError>(()) }));
///     ServiceExt::oneshot(stack, Upload).await
/// }
/// ```
#[cfg(doctest)]
pub struct MissingBound;

/// The README.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;
