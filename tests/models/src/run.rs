//! Running models.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex as Plain, PoisonError},
    task::{Wake, Waker},
};

use loom::sync::{Condvar, Mutex};

/// With how many preemptions: most bugs show with two.
const PREEMPTIONS: usize = 3;

/// Runs the model in every schedule, and gives back what it observed in any of them.
pub(crate) fn explore<T: Ord + Send + 'static>(
    model: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    explore_within(PREEMPTIONS, model)
}

/// With a bound on the preemptions, for models whose many steps would take too long without one.
pub(crate) fn explore_within<T: Ord + Send + 'static>(
    preemptions: usize,
    model: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let seen = Arc::new(Plain::new(BTreeSet::new()));
    let all = Arc::clone(&seen);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(move || {
        let observed = model();
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(observed);
    });
    std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A thread of a model, and what comes of it.
#[must_use]
pub(crate) struct Thread<T>(Arc<(Mutex<Option<T>>, Condvar)>);

/// Begins a thread. loom's own handle writes a line each time it is joined.
pub(crate) fn spawn<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> Thread<T> {
    let slot = Arc::new((Mutex::new(None), Condvar::new()));
    let result = Arc::clone(&slot);
    loom::thread::spawn(move || {
        let done = code();
        let (slot, filled) = &*result;
        *slot.lock().unwrap() = Some(done);
        filled.notify_one();
    });
    Thread(slot)
}

impl<T> Thread<T> {
    /// Waits for its end.
    pub(crate) fn join(self) -> T {
        let (slot, filled) = &*self.0;
        let mut slot = slot.lock().unwrap();
        loop {
            match slot.take() {
                Some(done) => return done,
                None => slot = filled.wait(slot).unwrap(),
            }
        }
    }
}

/// Holds what takes a lock when it is dropped. After a panic it is not dropped: loom has given its
/// locks up, and a second panic would hide the first.
pub(crate) struct Unhurt<T>(Option<T>);

impl<T> Unhurt<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

impl<T> Drop for Unhurt<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if std::thread::panicking() {
            std::mem::forget(value);
        }
    }
}

/// Lets a thread sleep until its waker wakes it. Nothing else wakes it, so a lost wake-up is a
/// deadlock.
#[derive(Default)]
pub(crate) struct Sleeper(Arc<Alarm>);

#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Sleeper {
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    pub(crate) fn sleep(&self) {
        let mut rung = self.0.rung.lock().unwrap();
        while !std::mem::take(&mut *rung) {
            rung = self.0.rings.wait(rung).unwrap();
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.rings.notify_one();
    }
}
