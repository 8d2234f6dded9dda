//! The flight that callers share, and the table of keys around it.

pub mod flights;
pub mod panics;
pub mod replacing;
pub mod table;

// The library's own files, of which the models use a part. They are linted at home.

#[path = "../../../../crates/tower-keep/src/dedup/cache.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod cache;
#[path = "../../../../crates/tower-keep/src/dedup/counts.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod counts;
#[path = "../../../../crates/tower-keep/src/dedup/handle.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod handle;
#[path = "../../../../crates/tower-keep/src/dedup/in_flight.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod in_flight;
#[path = "../../../../crates/tower-keep/src/dedup/key_table.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod key_table;
#[path = "../../../../crates/tower-keep/src/dedup/lookup.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod lookup;
#[path = "../../../../crates/tower-keep/src/dedup/mode.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod mode;
#[path = "../../../../crates/tower-keep/src/dedup/typed_key.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod typed_key;

mod coalesce;
mod supersede;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use loom::sync::Mutex;

use self::coalesce::flight::{Caller, Flight};
use crate::{
    run::{Sleeper, Unhurt},
    sync::atomic::AtomicU64,
};

/// An output that counts how often a clone of it begins and ends: others may come in between.
struct Output(Arc<AtomicU64>);

impl Clone for Output {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        let clone = Self(Arc::clone(&self.0));
        self.0.fetch_add(1, Ordering::Relaxed);
        clone
    }
}

impl Output {
    fn clones(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / 2
    }
}

/// An execution that is over when the model says so.
struct Script {
    state: Mutex<Play>,
    /// Not loom's, as a drop in the middle of a panic must not meet other threads.
    polled: AtomicBool,
    drops: AtomicUsize,
}

#[derive(Default)]
struct Play {
    over: bool,
    waker: Option<Waker>,
}

impl Script {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            polled: AtomicBool::new(false),
            drops: AtomicUsize::new(0),
        })
    }

    /// A script that is over at its first poll.
    fn done() -> Arc<Self> {
        let script = Self::new();
        script.finish();
        script
    }

    fn fly(self: &Arc<Self>) -> (Arc<Flight<Output>>, Caller<Output>) {
        let flight = Flight::new();
        let first = flight.leader();
        first.launch(|| Box::pin(Running(Arc::clone(self))));
        (flight, first)
    }

    /// It can go on, and wakes its last waker.
    fn finish(&self) {
        let waker = {
            let mut state = self.state.lock().unwrap();
            state.over = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn drops(&self) -> usize {
        self.drops.load(Ordering::Relaxed)
    }
}

struct Running(Arc<Script>);

impl Future for Running {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        assert!(!self.0.polled.swap(true, Ordering::Relaxed), "by two");
        let mut state = self.0.state.lock().unwrap();
        let over = state.over;
        let before = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(before);
        self.0.polled.store(false, Ordering::Relaxed);
        if over {
            Poll::Ready(Output(Arc::new(AtomicU64::new(0))))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::Relaxed);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            assert!(!self.0.polled.load(Ordering::Relaxed), "as it is polled");
        }
    }
}

/// A caller and the task that polls it.
struct Task<T> {
    caller: Unhurt<Caller<T>>,
    sleeper: Sleeper,
}

impl<T: Clone + Send + Sync + 'static> Task<T> {
    fn new(caller: Caller<T>) -> Self {
        let sleeper = Sleeper::default();
        let caller = Unhurt::new(caller);
        Self { caller, sleeper }
    }

    fn poll(&mut self) -> Poll<T> {
        let waker = self.sleeper.waker();
        let polled = self.caller.get_mut().poll(&mut Context::from_waker(&waker));
        polled.map(|output| output.expect("the joined execution panicked"))
    }

    /// Has the output in the end, unless a wake-up is lost.
    fn output(mut self) -> T {
        loop {
            match self.poll() {
                Poll::Ready(output) => return output,
                Poll::Pending => self.sleeper.sleep(),
            }
        }
    }

    /// As [`output`](Self::output), of a task that waits already.
    fn woken(self) -> T {
        self.sleeper.sleep();
        self.output()
    }
}
