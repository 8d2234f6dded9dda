//! Setters on a layer in use: they return a layer with its own state.

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

/// A layer, or a part of it, whose state is shared by clones, handles and services.
///
/// A setter first calls [`unshare`](Self::unshare), so that it never changes the state of other
/// users.
#[allow(unreachable_pub, reason = "setters of some layers have it as a bound")]
pub trait Unshare {
    /// Whether another owner holds the state.
    fn is_shared(&self) -> bool;

    /// Replaces the shared state by new state with the same settings.
    fn renew(&mut self);

    /// Ensures that no other owner uses the state.
    fn unshare(&mut self) {
        if self.is_shared() {
            self.renew();
        }
    }

    /// The same layer with its own state.
    fn unshared(mut self) -> Self
    where
        Self: Sized,
    {
        self.unshare();
        self
    }
}

/// Whether another reference exists.
pub(crate) fn has_others<T: ?Sized>(state: &Arc<T>) -> bool {
    let others = Arc::strong_count(state) > 1;
    // If the last other owner was just dropped, its earlier writes are visible from here on.
    fence(Ordering::Acquire);
    others
}
