//! Access to what the library keeps in a thread, which never panics.
//!
//! Calls are made while a thread ends, too: from the `Drop` of what another crate keeps in it. So no value here has a
//! destructor of its own, as that would take the value away before the thread is gone; the compiler leaves out the
//! check then, and the access costs nothing. Where a platform takes the values away nevertheless, a read gives the
//! default, which is that nothing is ambient, and a write does nothing.

use std::{
    cell::{Cell, RefCell},
    mem::{self, ManuallyDrop},
    sync::Arc,
    thread::LocalKey,
};

/// A plain value in a thread.
pub(crate) trait Local<T> {
    fn read(&'static self) -> T;
    fn write(&'static self, value: T);
    /// Returns the value before.
    fn exchange(&'static self, value: T) -> T;
}

impl<T: Copy + Default> Local<T> for LocalKey<Cell<T>> {
    #[inline(always)]
    fn read(&'static self) -> T {
        const { assert!(!mem::needs_drop::<T>()) };
        self.try_with(Cell::get).unwrap_or_default()
    }

    #[inline(always)]
    fn write(&'static self, value: T) {
        let _ = self.try_with(|cell| cell.set(value));
    }

    #[inline(always)]
    fn exchange(&'static self, value: T) -> T {
        self.try_with(|cell| cell.replace(value))
            .unwrap_or_default()
    }
}

/// Something shared that is ambient in a thread for as long as a guard lives. The guards empty it, so nothing is left
/// that would have to be dropped with the thread.
pub(crate) struct Slot<T>(RefCell<ManuallyDrop<Option<Arc<T>>>>);

impl<T> Slot<T> {
    pub(crate) const fn new() -> Self {
        const { assert!(!mem::needs_drop::<Self>()) };
        Self(RefCell::new(ManuallyDrop::new(None)))
    }

    /// `look` must not use this slot in turn.
    #[inline(always)]
    pub(crate) fn look<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        look(self.0.borrow().as_ref())
    }

    #[inline(always)]
    pub(crate) fn swap(&self, other: &mut Option<Arc<T>>) {
        mem::swap(&mut **self.0.borrow_mut(), other);
    }
}
