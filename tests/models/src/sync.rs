//! In place of the library's module of this name.

use std::{sync, task::Waker};

use tokio_util::sync::WaitForCancellationFutureOwned;

use self::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use loom::sync::{Mutex, MutexGuard};

/// One lock, at which all threads meet.
pub(crate) const SHARDS: usize = 1;

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::Ordering;

    /// Not loom's: these are counters and names that decide nothing.
    pub(crate) use std::sync::atomic::AtomicU32;

    use loom::sync::atomic;

    macro_rules! atomics {
        ($($name:ident: $value:ty, $($extra:ident)*;)*) => {$(
            /// loom's, but for what it gets wrong.
            ///
            /// 1. It lets a plain store come between the load and the store of a concurrent
            ///    compare-and-swap (<https://github.com/tokio-rs/loom/issues/254>), which would
            ///    show bugs that there are not. Between swaps it keeps to the order, so here a
            ///    store is one.
            /// 2. Of the accesses that a schedule could turn around it remembers but the last one,
            ///    so that a thread's own load hides another's before, and schedules are left out.
            ///    So here each access first touches a word that nobody reads, as a write, which
            ///    hides nothing. It orders nothing either.
            #[derive(Debug)]
            pub(crate) struct $name {
                word: atomic::$name,
                touched: atomic::AtomicU64,
            }

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self {
                        word: atomic::$name::new(value),
                        touched: atomic::AtomicU64::new(0),
                    }
                }

                fn touch(&self) -> &atomic::$name {
                    self.touched.fetch_add(1, Ordering::Relaxed);
                    &self.word
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.touch().load(order)
                }

                $(atomics!(@ $extra $value);)*
            }
        )*};
        (@ stores $value:ty) => {
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.touch().swap(value, order);
            }
        };
        (@ swaps $value:ty) => {
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.touch()
                    .compare_exchange(current, new, success, failure)
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
        };
        (@ counts $value:ty) => {
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.touch().fetch_add(value, order)
            }
        };
        (@ flags $value:ty) => {
            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.touch().fetch_or(value, order)
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.touch().fetch_and(value, order)
            }

            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.touch().fetch_update(success, failure, update)
            }
        };
    }

    atomics! {
        AtomicBool: bool, stores;
        AtomicU64: u64, stores swaps counts flags;
    }

    impl Default for AtomicBool {
        fn default() -> Self {
            Self::new(false)
        }
    }
}

/// A lock around a waker. A call of the real lock that meets another call leaves its work to that
/// call. Here it waits.
#[derive(Debug)]
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let before = self.0.lock().unwrap().replace(waker.clone());
        drop(before);
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.lock().unwrap().take()
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }
}

/// The real one, behind a flag of loom's. A reader may still see it empty, if nothing else orders
/// the two.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    filling: Mutex<()>,
    filled: AtomicBool,
    cell: sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            filling: Mutex::new(()),
            filled: AtomicBool::new(false),
            cell: sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.filled.load(Ordering::Acquire) {
            self.cell.get()
        } else {
            None
        }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _one_at_a_time = self.filling.lock().unwrap();
        let set = self.cell.set(value);
        self.filled.store(true, Ordering::Release);
        set
    }
}

/// The real one. Before each step others may come, which loom could not know; each step as a whole
/// is tokio's affair.
#[derive(Clone, Debug, Default)]
pub(crate) struct CancellationToken {
    real: tokio_util::sync::CancellationToken,
    steps: sync::Arc<Steps>,
}

#[derive(Debug)]
struct Steps(AtomicU64);

impl Default for Steps {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl CancellationToken {
    fn step(&self) -> &tokio_util::sync::CancellationToken {
        self.steps.0.fetch_add(1, Ordering::AcqRel);
        &self.real
    }

    pub(crate) fn child_token(&self) -> Self {
        Self {
            real: self.step().child_token(),
            steps: sync::Arc::clone(&self.steps),
        }
    }

    pub(crate) fn cancel(&self) {
        self.step().cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.step().is_cancelled()
    }

    pub(crate) fn cancelled_owned(self) -> WaitForCancellationFutureOwned {
        self.real.cancelled_owned()
    }
}
