//! Layers that are configured further after others use them already.

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

/// A layer, or the part of a layer with the state that its clones, handles and services share.
///
/// A setter changes what nobody else uses: it makes the state its own first.
#[allow(unreachable_pub, reason = "setters of some layers have it as a bound")]
pub trait Unshare {
    /// Whether anything else holds the state.
    fn is_shared(&self) -> bool;

    /// Puts new state in place of the shared state. The settings stay.
    fn renew(&mut self);

    /// Makes the state its own: from then on nothing else uses it.
    fn unshare(&mut self) {
        if self.is_shared() {
            self.renew();
        }
    }

    /// The same layer, with state of its own.
    fn unshared(mut self) -> Self
    where
        Self: Sized,
    {
        self.unshare();
        self
    }
}

/// Whether there is another reference.
pub(crate) fn has_others<T: ?Sized>(state: &Arc<T>) -> bool {
    let others = Arc::strong_count(state) > 1;
    // The last other holder may just have been dropped: what it did before is visible after this.
    fence(Ordering::Acquire);
    others
}
