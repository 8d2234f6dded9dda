//! `Sharded`: a shared value with several reference counts, each in its own cache line.
//!
//! A response future holds the shared state of its layer, so each call takes and returns a
//! reference. With a single count, all threads would write to one cache line in each call. That
//! would cost more than the rest of a layer. Instead, a clone of a service uses the count of the
//! thread that cloned it. If another thread calls the clone, it moves to the count of that thread.

use std::{
    cell::Cell,
    ops::Deref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};
#[cfg(test)]
use std::{collections::HashSet, hash::Hash, thread};

#[cfg(any(feature = "circuit-breaker", test))]
use crate::unshare::has_others;

/// The number of counts of a value.
pub(crate) const SHARDS: usize = 16;

/// A value behind one of its counts.
///
/// The alignment gives the count of its `Arc` a separate cache line, even if lines have 128 bytes
/// or are fetched in pairs.
#[repr(align(128))]
pub(crate) struct Shard<T> {
    inner: Arc<Inner<T>>,
    number: usize,
}

struct Inner<T> {
    value: T,
    /// All shards, if there are several. Weak, so that they do not keep each other alive.
    shards: OnceLock<Box<[Weak<Shard<T>>]>>,
}

impl<T> Shard<T> {
    /// A value with a single count.
    pub(crate) fn single(value: T) -> Arc<Self> {
        let inner = Inner {
            value,
            shards: OnceLock::new(),
        };
        Arc::new(Self {
            inner: Arc::new(inner),
            number: thread_number(),
        })
    }

    /// The number of this count, less than [`SHARDS`].
    #[cfg(any(feature = "retry", test))]
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Creates all counts; this count is one of them. Called once.
    fn all(self: &Arc<Self>) -> Box<[Arc<Self>]> {
        let shard = |number| match number == self.number {
            true => Arc::clone(self),
            false => Arc::new(Self {
                inner: Arc::clone(&self.inner),
                number,
            }),
        };
        let all: Box<[_]> = (0..SHARDS).map(shard).collect();
        let _ = (self.inner.shards).set(all.iter().map(Arc::downgrade).collect());
        all
    }

    /// The count of the current thread, or this count if that is gone.
    fn of_this_thread(self: &Arc<Self>) -> Arc<Self> {
        let number = thread_number();
        let sibling = || self.inner.shards.get()?.get(number)?.upgrade();
        let other = (number != self.number).then(sibling).flatten();
        other.unwrap_or_else(|| Arc::clone(self))
    }
}

impl<T> Deref for Shard<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner.value
    }
}

/// A value and one of its counts.
///
/// A value from [`new`](Self::new) and its clones keep all counts alive. A value from
/// [`spread`](Self::spread) holds only its own count. When the other counts are gone, further
/// spreads share that count.
pub(crate) struct Sharded<T> {
    own: Arc<Shard<T>>,
    /// The thread whose count this is, or would be if that count still existed.
    thread: usize,
    /// Created by the first `spread`.
    all: Option<Arc<All<T>>>,
}

type All<T> = OnceLock<Box<[Arc<Shard<T>>]>>;

impl<T> Sharded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            own: Shard::single(value),
            thread: thread_number(),
            all: Some(Arc::default()),
        }
    }

    /// Whether another owner may hold the value.
    ///
    /// Always true after the first `spread`: a clone can move between counts while they are read,
    /// so that no count shows it.
    #[cfg(any(feature = "circuit-breaker", test))]
    pub(crate) fn is_shared(&self) -> bool {
        let is_alone = |all: &Arc<All<T>>| !has_others(all) && all.get().is_none();
        !self.all.as_ref().is_some_and(is_alone) || has_others(&self.own)
    }

    /// The same value, with the count of the current thread.
    pub(crate) fn spread(&self) -> Self {
        if let Some(all) = &self.all {
            all.get_or_init(|| self.own.all());
        }
        Self {
            own: self.own.of_this_thread(),
            thread: thread_number(),
            all: None,
        }
    }

    /// Moves to the count of the current thread, if the value came from another thread.
    #[inline(always)]
    pub(crate) fn follow_thread(&mut self) {
        let thread = thread_number();
        if self.thread != thread {
            self.go_to(thread);
        }
    }

    #[cold]
    fn go_to(&mut self, thread: usize) {
        self.thread = thread;
        self.own = self.own.of_this_thread();
    }
}

impl<T> Clone for Sharded<T> {
    fn clone(&self) -> Self {
        Self {
            own: self.own.of_this_thread(),
            thread: thread_number(),
            all: self.all.clone(),
        }
    }
}

impl<T> Deref for Sharded<T> {
    type Target = Arc<Shard<T>>;

    #[inline(always)]
    fn deref(&self) -> &Arc<Shard<T>> {
        &self.own
    }
}

/// The shard number of the current thread, less than [`SHARDS`]. Threads share numbers only if
/// there are more threads than shards.
#[inline(always)]
fn thread_number() -> usize {
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    #[cold]
    fn next() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    }
    let number = |number: &Cell<usize>| {
        if number.get() == UNKNOWN {
            number.set(next());
        }
        number.get()
    };
    // After the destruction of the thread-local, any number is valid.
    NUMBER.try_with(number).unwrap_or(0)
}

/// The results of `find` in many threads.
#[cfg(test)]
pub(crate) fn of_threads<T: Eq + Hash + Send>(find: impl Fn() -> T + Sync) -> HashSet<T> {
    let found = (0..SHARDS * 4).map(|_| thread::scope(|scope| scope.spawn(&find).join().unwrap()));
    found.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_thread_spreads_to_its_own_count() {
        let value = Sharded::new(7);
        let numbers = of_threads(|| value.spread().spread().number());
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
        let [first, second] = [(); 2].map(|()| value.spread());
        assert_eq!(first.number(), second.number());
        assert_eq!(***first, 7);
    }

    #[test]
    fn the_counts_live_as_long_as_the_first_holder_or_its_clones() {
        let first = Sharded::new(7);
        let clone = first.clone();
        let spread = first.spread();
        drop(first);
        let others = || of_threads(|| spread.spread().number()).len();
        assert!(others() > 1);
        drop(clone);
        assert_eq!(others(), 1);
        assert_eq!(***spread, 7);
    }

    #[test]
    fn the_value_goes_with_its_last_holder() {
        let value = Arc::new(());
        let sharded = Sharded::new(Arc::clone(&value));
        let held = thread::scope(|scope| {
            let spread = scope.spawn(|| Arc::clone(&sharded.spread()));
            spread.join().unwrap()
        });
        drop(sharded);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(held);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_value_is_shared_while_anything_else_holds_it() {
        let value = Sharded::new(7);
        assert!(!value.is_shared());
        let clone = value.clone();
        assert!(value.is_shared() && clone.is_shared());
        drop(clone);
        assert!(!value.is_shared());
        let handle = Arc::clone(&value);
        assert!(value.is_shared());
        drop(handle);
        assert!(!value.is_shared());
        let spread = value.spread();
        assert!(value.is_shared() && spread.is_shared());
    }

    #[test]
    fn a_value_that_goes_from_thread_to_thread_is_shared_at_each_moment() {
        let value = Sharded::new(7);
        let held = Mutex::new(value.spread());
        let running = AtomicUsize::new(2);
        let renew = || {
            for _ in 0..200_000 {
                let mut held = held.lock().unwrap();
                *held = held.clone();
            }
            running.fetch_sub(1, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            scope.spawn(renew);
            scope.spawn(renew);
            while running.load(Ordering::Relaxed) > 0 {
                assert!(value.is_shared());
            }
        });
    }

    #[test]
    fn a_value_follows_to_the_thread_that_uses_it() {
        let value = Sharded::new(7);
        let first = value.spread();
        let numbers = of_threads(|| {
            // Created in one thread, used in another.
            let mut used = first.clone();
            used.thread = first.thread;
            used.own = Arc::clone(&first.own);
            used.follow_thread();
            let number = used.number();
            used.follow_thread();
            assert_eq!(used.inner.value, 7);
            assert_eq!((used.number(), used.number()), (number, thread_number()));
            number
        });
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
        // Without the other counts, the value keeps its count.
        drop(value);
        let mut alone = first;
        let number = alone.number();
        thread::scope(|scope| {
            let moved = scope.spawn(move || {
                alone.follow_thread();
                (alone.number(), alone.thread == thread_number())
            });
            let moved = moved.join().unwrap();
            assert!(moved.1);
            assert!(moved.0 == number, "{moved:?}");
        });
    }

    #[test]
    fn a_count_has_a_cache_line_of_its_own() {
        assert_eq!(
            (size_of::<Shard<u8>>(), align_of::<Shard<u8>>()),
            (128, 128)
        );
    }
}
