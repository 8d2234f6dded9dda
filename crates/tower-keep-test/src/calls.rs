//! [`Calls`]: the record of what happened to a scripted service.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::sync::{Signal, lock};

/// The record of what happened to a [`Scripted`](crate::Scripted) service and all its clones.
///
/// Take it with [`Scripted::calls`](crate::Scripted::calls) before the service moves into the layer
/// under test. It is a cheap handle: clones share the record, and always show the current state.
///
/// Every call is in exactly one state: `count == in_flight + completed + dropped + panicked`.
pub struct Calls<Req>(pub(crate) Arc<Log<Req>>);

/// The record that clones of a service, futures and handles share.
pub(crate) struct Log<Req> {
    made: Instant,
    counts: Mutex<Counts<Req>>,
    changed: Signal,
}

pub(crate) struct Counts<Req> {
    started_at: Vec<Duration>,
    requests: Vec<Req>,
    recording: bool,
    in_flight: usize,
    peak: usize,
    completed: usize,
    dropped: usize,
    panicked: usize,
    clones: usize,
    polls: usize,
    /// Scripted steps that were not used yet.
    pub(crate) unused: usize,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Completed,
    Dropped,
    Panicked,
}

impl<Req> Log<Req> {
    pub(crate) fn new() -> Self {
        Self {
            made: Instant::now(),
            counts: Mutex::new(Counts {
                started_at: Vec::new(),
                requests: Vec::new(),
                recording: false,
                in_flight: 0,
                peak: 0,
                completed: 0,
                dropped: 0,
                panicked: 0,
                clones: 0,
                polls: 0,
                unused: 0,
            }),
            changed: Signal::default(),
        }
    }

    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Counts<Req>) -> T) -> T {
        let result = change(&mut lock(&self.counts));
        self.changed.notify();
        result
    }

    pub(crate) fn begin(self: &Arc<Self>, request: Option<Req>) -> Ticket<Req> {
        let at = self.made.elapsed();
        self.update(|counts| {
            counts.started_at.push(at);
            counts.requests.extend(request);
            counts.in_flight += 1;
            counts.peak = counts.peak.max(counts.in_flight);
        });
        Ticket {
            log: self.clone(),
            open: true,
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Counts<Req>) -> T) -> T {
        look(&lock(&self.counts))
    }
}

impl<Req> Counts<Req> {
    pub(crate) fn record_requests(&mut self) {
        self.recording = true;
    }

    pub(crate) fn cloned(&mut self) {
        self.clones += 1;
    }

    pub(crate) fn polled(&mut self) {
        self.polls += 1;
    }
}

/// A call in flight. Dropping it records that the future was dropped.
pub(crate) struct Ticket<Req> {
    log: Arc<Log<Req>>,
    open: bool,
}

impl<Req> Ticket<Req> {
    pub(crate) fn end(&mut self, how: End) {
        if !self.open {
            return;
        }
        self.open = false;
        self.log.update(|counts| {
            counts.in_flight -= 1;
            *match how {
                End::Completed => &mut counts.completed,
                End::Dropped => &mut counts.dropped,
                End::Panicked => &mut counts.panicked,
            } += 1;
        });
    }
}

impl<Req> Ticket<Req> {
    /// Runs code that may panic. A panic is recorded as the end of the call.
    pub(crate) fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        struct Watch<'a, Req> {
            ticket: &'a mut Ticket<Req>,
            finished: bool,
        }

        impl<Req> Drop for Watch<'_, Req> {
            fn drop(&mut self) {
                if !self.finished {
                    self.ticket.end(End::Panicked);
                }
            }
        }

        let mut watch = Watch {
            ticket: self,
            finished: false,
        };
        let result = work();
        watch.finished = true;
        result
    }
}

impl<Req> Drop for Ticket<Req> {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

impl<Req> Calls<Req> {
    /// The number of calls, however they ended.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.read(|counts| counts.started_at.len())
    }

    /// The requests, in call order.
    ///
    /// # Panics
    ///
    /// If the service does not keep requests: see
    /// [`Scripted::recording`](crate::Scripted::recording).
    #[must_use]
    #[track_caller]
    pub fn requests(&self) -> Vec<Req>
    where
        Req: Clone,
    {
        let requests = self
            .0
            .read(|counts| counts.recording.then(|| counts.requests.clone()));
        requests.expect("the requests were not kept: build the service with `.recording()`")
    }

    /// The time of each call since the service was made, on tokio's clock.
    #[must_use]
    pub fn started_at(&self) -> Vec<Duration> {
        self.0.read(|counts| counts.started_at.clone())
    }

    /// The time from each call to the next, such as the waits of a retry. One fewer than there were
    /// calls.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        let times = self.started_at();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Calls whose future exists and has not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.read(|counts| counts.in_flight)
    }

    /// The maximum number of simultaneous calls.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.0.read(|counts| counts.peak)
    }

    /// Calls whose future returned an answer or an error.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.0.read(|counts| counts.completed)
    }

    /// Calls whose future was dropped before it completed.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.0.read(|counts| counts.dropped)
    }

    /// Calls that panicked, in `call` or in the future.
    #[must_use]
    pub fn panicked(&self) -> usize {
        self.0.read(|counts| counts.panicked)
    }

    /// The number of clones made.
    #[must_use]
    pub fn clones(&self) -> usize {
        self.0.read(|counts| counts.clones)
    }

    /// The number of `poll_ready` calls, over all clones.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.0.read(|counts| counts.polls)
    }

    /// The number of unused scripted steps.
    #[must_use]
    pub fn unused(&self) -> usize {
        self.0.read(|counts| counts.unused)
    }

    /// Asserts that every step was used and no call is in flight.
    ///
    /// # Panics
    ///
    /// If a step is unused or a call is in flight.
    #[track_caller]
    pub fn assert_finished(&self) {
        let (unused, in_flight) = self.0.read(|counts| (counts.unused, counts.in_flight));
        assert!(
            unused == 0 && in_flight == 0,
            "the script is not finished: steps unused: {unused}, calls in flight: {in_flight}\n{self:?}",
        );
    }

    /// Waits until `condition` holds. It is checked now and after every change.
    ///
    /// # Panics
    ///
    /// If the condition does not hold within a year; on a paused clock that is as soon as nothing
    /// else can happen. Also outside a tokio runtime with a timer.
    ///
    /// ```
    /// # use tower::Service;
    /// # use tower_keep_test::Scripted;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let mut service = Scripted::<u32, u32>::new().answer(1).answer(2);
    /// let calls = service.calls();
    /// let task = tokio::spawn(async move { (service.call(1).await, service.call(2).await) });
    /// calls.until(|calls| calls.completed() == 2).await;
    /// # task.await.unwrap();
    /// # }
    /// ```
    pub async fn until<F>(&self, condition: F)
    where
        F: Fn(&Self) -> bool,
    {
        let came = self.0.changed.until(|| condition(self)).await;
        assert!(came, "the awaited condition never came\n{self:?}");
    }
}

impl<Req> Clone for Calls<Req> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Req> fmt::Debug for Calls<Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.read(|counts| {
            f.debug_struct("Calls")
                .field("started_at", &counts.started_at)
                .field("in_flight", &counts.in_flight)
                .field("peak", &counts.peak)
                .field("completed", &counts.completed)
                .field("dropped", &counts.dropped)
                .field("panicked", &counts.panicked)
                .field("clones", &counts.clones)
                .field("polls", &counts.polls)
                .field("unused", &counts.unused)
                .finish()
        })
    }
}
