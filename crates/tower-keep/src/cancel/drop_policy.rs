//! What happens to a call when its caller drops it: it stops, or runs on in its own task.

use std::{future::Future, hash::Hash};

use super::{cancellable_call::CancellableCall, detached::DetachedCall};
use crate::display_error::DisplayError;
use crate::job::Cancelled;

/// A dropped call stops. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopOnDrop;

/// A job continues without its caller.
///
/// ```compile_fail
/// # use std::rc::Rc;
/// # use tower::{Layer, ServiceExt, service_fn};
/// # use tower_keep::{BoxError, CancelLayer};
/// let service = CancelLayer::new().detached().layer(service_fn(|_: u32| async {
///     let not_send = Rc::new(7);
///     std::future::ready(()).await;
///     Ok::<_, BoxError>(*not_send)
/// }));
/// let _ = service.oneshot(1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Detached;

/// A dropped call stops. A call goes on until the end of its response body.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, Default)]
pub struct FollowBody;

/// Whether a job can outlive its caller.
#[diagnostic::on_unimplemented(
    message = "a layer that follows the response body cannot be detached",
    note = "the body belongs to the caller: use `CancelLayer::new().detached()`"
)]
pub trait MayDetach {}

impl MayDetach for StopOnDrop {}
impl MayDetach for Detached {}

/// What happens to a call when its caller drops it.
pub trait DropPolicy<F: Future, K: Eq + Hash> {
    /// The future that the caller polls.
    type Call: Future<Output = Result<F::Output, Cancelled>>;

    /// Begins the call.
    fn begin(call: CancellableCall<F, K>) -> Self::Call;
}

impl<F: Future, K: Eq + Hash> DropPolicy<F, K> for StopOnDrop {
    type Call = CancellableCall<F, K>;

    #[inline(always)]
    fn begin(call: CancellableCall<F, K>) -> Self::Call {
        call
    }
}

#[cfg(feature = "http")]
impl<F, T, E, K> DropPolicy<F, K> for FollowBody
where
    F: Future<Output = Result<T, E>>,
    K: Eq + Hash,
{
    type Call = super::followed_call::FollowedCall<F, K>;

    #[inline]
    fn begin(call: CancellableCall<F, K>) -> Self::Call {
        super::followed_call::FollowedCall::new(call)
    }
}

impl<F, T, E, K> DropPolicy<F, K> for Detached
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: DisplayError + Send + 'static,
    K: Eq + Hash + Send + Sync + 'static,
{
    type Call = DetachedCall<T, E>;

    fn begin(call: CancellableCall<F, K>) -> Self::Call {
        DetachedCall::new(call)
    }
}
