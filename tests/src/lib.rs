//! Holds the README to its word: all its Rust code is compiled and run.

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
