//! Trait bounds of the modes, with compiler errors that name the missing trait.

use std::fmt;

/// A service that a `DedupLayer` can wrap.
///
/// ```compile_fail,E0277
/// # use std::{future::{Ready, ready}, task::{Context, Poll}};
/// # use tower::{Service, ServiceBuilder};
/// # use tower_keep::{BoxError, DedupLayer};
/// struct NotClone;
///
/// impl Service<u32> for NotClone {
///     type Response = u32;
///     type Error = BoxError;
///     type Future = Ready<Result<u32, BoxError>>;
///
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
///         Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, request: u32) -> Self::Future {
///         ready(Ok(request))
///     }
/// }
///
/// ServiceBuilder::new().layer(DedupLayer::new(|request: &u32| Some(*request))).service(NotClone);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`: a service inside `DedupLayer` needs it",
    label = "not `Clone`",
    note = "each execution uses the called instance, and a clone replaces it"
)]
pub trait CloneService: Clone {}

#[diagnostic::do_not_recommend]
impl<S: Clone> CloneService for S {}

/// A key of calls that join.
///
/// ```compile_fail,E0277
/// # use tower_keep::DedupLayer;
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct NotDebug(u32);
///
/// DedupLayer::new(|request: &u32| Some(NotDebug(*request))).join();
/// ```
///
/// ```compile_fail,E0277
/// # use std::rc::Rc;
/// # use tower_keep::DedupLayer;
/// DedupLayer::new(|request: &u32| Some(Rc::new(*request))).join();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of calls that join: it is not `Debug + Send + 'static`",
    label = "not `Debug + Send + 'static`",
    note = "the error of a call that would wait for itself shows the keys"
)]
pub trait JoinKey: fmt::Debug + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<K: fmt::Debug + Send + 'static> JoinKey for K {}

/// A response that several callers share.
///
/// ```compile_fail,E0277
/// # use tower::{Layer, service_fn, util::BoxCloneSyncService};
/// # use tower_keep::{BoxError, DedupLayer};
/// struct NotClone;
///
/// let dedup = DedupLayer::new(|request: &u32| Some(*request)).join();
/// let service = dedup.layer(service_fn(|_: u32| async { Ok::<_, BoxError>(NotClone) }));
/// BoxCloneSyncService::<u32, NotClone, BoxError>::new(service);
/// ```
#[diagnostic::on_unimplemented(
    message = "the response `{Self}` cannot be shared by calls that join: it is not `Clone + Send + Sync + 'static`",
    label = "not `Clone + Send + Sync + 'static`",
    note = "each caller gets a clone: wrap the response in an `Arc`, or convert it to a `Clone` type with `map_response` inside this layer"
)]
pub trait SharedResponse: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> SharedResponse for T {}

/// An error that several callers share without a wrapper.
///
/// ```compile_fail,E0277
/// # use tower::{Layer, service_fn, util::BoxCloneSyncService};
/// # use tower_keep::DedupLayer;
/// #[derive(Debug)]
/// struct NotClone;
///
/// impl std::fmt::Display for NotClone {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         f.write_str("not `Clone`")
///     }
/// }
///
/// let dedup = DedupLayer::new(|request: &u32| Some(*request)).join().fail_with(|_| NotClone);
/// let service = dedup.layer(service_fn(|request: u32| async move { Ok::<_, NotClone>(request) }));
/// BoxCloneSyncService::<u32, u32, NotClone>::new(service);
/// ```
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` cannot be shared by calls that join: it is not `Clone + Send + Sync + 'static`",
    label = "not `Clone + Send + Sync + 'static`",
    note = "without `fail_with` and `respond_with`, callers share a `BoxError`, and the error need not be `Clone`"
)]
pub trait CloneError: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<E: Clone + Send + Sync + 'static> CloneError for E {}
