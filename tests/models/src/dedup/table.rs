//! One key is executed once at a time, and is free when that is over.

use std::{
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Task,
    cache::{CacheAccess, CacheLimits},
    coalesce::flight,
    key_table::{KeyGuard, KeyTable},
    lookup::Joined,
};
use crate::run::{explore, spawn};

const KEY: u8 = 7;

#[derive(Default)]
struct Counts {
    /// How many executions run now.
    running: AtomicUsize,
    began: AtomicUsize,
}

/// `JoinedExecution`, in short: it frees the key before it is over.
struct Execution {
    counts: Arc<Counts>,
    guard: Option<KeyGuard<u8>>,
    /// How often it waits.
    waits: usize,
    keeps: Option<CacheAccess>,
    began: bool,
}

impl Future for Execution {
    type Output = u8;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u8> {
        if !std::mem::replace(&mut self.began, true) {
            let others = self.counts.running.fetch_add(1, Ordering::Relaxed);
            assert_eq!(others, 0, "one at a time");
            self.counts.began.fetch_add(1, Ordering::Relaxed);
        }
        if self.waits > 0 {
            self.waits -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let (Some(access), Some(guard)) = (self.keeps, self.guard.take()) {
            // One at a time, until the key is free.
            self.end();
            guard.cache(Arc::new(KEY), access);
        }
        self.end();
        Poll::Ready(KEY)
    }
}

impl Execution {
    fn end(&mut self) {
        if std::mem::take(&mut self.began) {
            self.counts.running.fetch_sub(1, Ordering::Relaxed);
        }
        self.guard = None;
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Clone)]
struct Layer {
    keys: Arc<KeyTable<u8>>,
    counts: Arc<Counts>,
    waits: usize,
    keeps: Option<CacheAccess>,
}

impl Layer {
    fn new(waits: usize, keeps: Option<CacheAccess>) -> Self {
        Self {
            keys: Arc::default(),
            counts: Arc::default(),
            waits,
            keeps,
        }
    }

    /// A call: `None` is answered from what is kept.
    fn call(&self) -> Option<Task<u8>> {
        let begin = |guard, _, _| -> flight::FlightFuture<u8> {
            Box::pin(Execution {
                counts: Arc::clone(&self.counts),
                guard: Some(guard),
                waits: self.waits,
                keeps: self.keeps,
                began: false,
            })
        };
        match self.keys.join_or_begin(KEY, None, self.keeps, begin) {
            Joined::Leader(caller) => Some(Task::new(caller)),
            Joined::Follower { caller, .. } => {
                self.keys.count_joined(true);
                Some(Task::new(caller))
            }
            Joined::Hit { .. } => None,
        }
    }

    fn answered(&self) {
        if let Some(task) = self.call() {
            assert_eq!(task.output(), KEY);
        }
    }

    fn began(&self) -> usize {
        self.counts.began.load(Ordering::Relaxed)
    }
}

fn keeping() -> Option<CacheAccess> {
    Some(CacheAccess::now(CacheLimits {
        ttl: Duration::from_secs(3600),
        stale: Duration::ZERO,
        max_entries: NonZeroUsize::MIN,
    }))
}

/// Calls at once join, or come one after the other.
pub fn one_execution_at_a_time() {
    let seen = explore(|| {
        let layer = Layer::new(1, None);
        let other = layer.clone();
        let thread = spawn(move || other.answered());
        layer.answered();
        thread.join();
        assert_eq!(layer.keys.len(), 0, "the key is free");
        let counts = layer.keys.counts();
        assert_eq!(counts.executions, layer.began() as u64);
        assert_eq!(counts.executions + counts.joined, 2);
        layer.began()
    });
    assert_eq!(seen, [1, 2].into());
}

/// Three calls at once, of which two find the execution of the first over or under way.
pub fn three_calls_at_once() {
    let seen = explore(|| {
        let layer = Layer::new(0, None);
        let threads = [(); 2].map(|()| {
            let layer = layer.clone();
            spawn(move || layer.answered())
        });
        layer.answered();
        for thread in threads {
            thread.join();
        }
        assert_eq!(layer.keys.len(), 0, "the key is free");
        layer.began()
    });
    assert_eq!(seen, [1, 2, 3].into());
}

/// Calls that leave free the key, in whichever order, and a call that comes meanwhile is answered.
pub fn who_leaves_frees_the_key() {
    explore(|| {
        let layer = Layer::new(1, None);
        let other = layer.clone();
        let leaving = spawn(move || {
            if let Some(mut task) = other.call() {
                let _ = task.poll();
            }
        });
        layer.answered();
        leaving.join();
        assert_eq!(layer.keys.len(), 0, "the key is free");
    });
}

/// Where duplicates are rejected, one at a time has the key.
pub fn one_call_has_the_key() {
    let seen = explore(|| {
        let keys = Arc::<KeyTable<u8>>::default();
        let other = Arc::clone(&keys);
        let thread = spawn(move || other.insert(KEY, None).is_ok());
        let mine = keys.insert(KEY, None);
        let held = mine.is_ok();
        if held {
            assert!(keys.insert(KEY, None).is_err());
        }
        drop(mine);
        let other = thread.join();
        assert!(held || other);
        assert_eq!(keys.len(), 0, "the key is free");
        (held, other)
    });
    assert_eq!(seen, [(false, true), (true, false), (true, true)].into());
}

/// A result that is kept is found as soon as the key is free: nobody executes it again.
pub fn a_kept_result_is_found_at_once() {
    explore(|| {
        let layer = Layer::new(0, keeping());
        let other = layer.clone();
        let thread = spawn(move || other.answered());
        layer.answered();
        thread.join();
        assert_eq!(layer.began(), 1);
        assert_eq!((layer.keys.len(), layer.keys.cached()), (0, 1));
    });
}

/// What began before its key was invalidated is not kept.
pub fn an_invalidated_result_is_not_kept() {
    explore(|| {
        let layer = Layer::new(0, keeping());
        let task = layer.call().unwrap();
        let thread = spawn(move || task.output());
        layer.keys.invalidate(&KEY);
        thread.join();
        assert_eq!((layer.keys.len(), layer.keys.cached()), (0, 0));
    });
}

/// A key is free once it was invalidated, and the end of what had it before frees nothing.
pub fn an_invalidated_key_is_free() {
    explore(|| {
        let keys = Arc::<KeyTable<u8>>::default();
        let Ok(old) = keys.insert(KEY, None) else {
            panic!("it is free");
        };
        let thread = spawn(move || drop(old));
        keys.invalidate(&KEY);
        let new = keys.insert(KEY, None);
        assert!(new.is_ok());
        thread.join();
        assert_eq!(keys.len(), 1, "the newer one has it");
        drop(new);
        assert_eq!(keys.len(), 0, "the key is free");
    });
}
