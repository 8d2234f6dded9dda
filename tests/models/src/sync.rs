//! In place of the library's module of this name.

pub(crate) use loom::sync::{Mutex, MutexGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::Ordering;

    use loom::sync::atomic;

    /// loom's, but for what it gets wrong.
    ///
    /// 1. It lets a plain store come between the load and the store of a compare-and-swap beside it
    ///    (<https://github.com/tokio-rs/loom/issues/254>), which would show bugs that there are not. Between swaps it
    ///    keeps to the order, so here a store is one.
    /// 2. Of the accesses that a schedule could turn around it remembers but the last one, so that a thread's own load
    ///    hides another's before, and schedules are left out. So here each access first touches a word that nobody reads,
    ///    as a write, which hides nothing. It orders nothing either.
    #[derive(Debug)]
    pub(crate) struct AtomicU64 {
        word: atomic::AtomicU64,
        touched: atomic::AtomicU64,
    }

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self {
                word: atomic::AtomicU64::new(value),
                touched: atomic::AtomicU64::new(0),
            }
        }

        fn touch(&self) -> &atomic::AtomicU64 {
            self.touched.fetch_add(1, Ordering::Relaxed);
            &self.word
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            self.touch().load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.touch().swap(value, order);
        }

        pub(crate) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.touch()
                .compare_exchange(current, new, success, failure)
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.compare_exchange(current, new, success, failure)
        }
    }
}
