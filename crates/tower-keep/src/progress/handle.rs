use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{
    broadcast::{
        self,
        error::{RecvError, TryRecvError},
    },
    watch,
};

use super::{view::JobView, watch::Watch};
use crate::event::{Event, EventKind, JobId, JobMap, Observer};

/// What the layer's clones share: the running jobs' latest states, and the stream of events.
pub(super) struct Board {
    /// A leaf lock, held for a look-up and a copy only.
    running: Mutex<JobMap<Entry>>,
    events: broadcast::Sender<Event>,
}

struct Entry {
    view: JobView,
    /// Made when somebody watches the job.
    watch: Option<watch::Sender<JobView>>,
}

impl Board {
    pub(super) fn new(buffer: usize) -> Self {
        Self {
            running: Mutex::default(),
            events: broadcast::Sender::new(buffer),
        }
    }

    fn running(&self) -> MutexGuard<'_, JobMap<Entry>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Board {
    fn on_event(&self, event: &Event) {
        // The watch and the stream are told after the lock is released: their wakers are not ours.
        let told = {
            let mut running = self.running();
            match &event.kind {
                EventKind::Dispatched => {
                    running.insert(
                        event.job,
                        Entry {
                            view: JobView::new(event),
                            watch: None,
                        },
                    );
                    None
                }
                kind if kind.is_terminal() => running.remove(&event.job).and_then(|mut entry| {
                    entry.view.apply(event);
                    Some((entry.watch?, entry.view))
                }),
                _ => running.get_mut(&event.job).and_then(|entry| {
                    entry.view.apply(event);
                    Some((entry.watch.clone()?, entry.view.clone()))
                }),
            }
        };
        if let Some((watch, view)) = told {
            watch.send_replace(view);
        }
        if self.events.receiver_count() > 0 {
            // It fails only when the last receiver went away meanwhile.
            let _ = self.events.send(event.clone());
        }
    }
}

/// Reads the progress of the jobs of one [`ProgressLayer`](super::ProgressLayer) and its clones.
#[derive(Clone)]
pub struct ProgressHandle {
    pub(super) board: Arc<Board>,
}

impl ProgressHandle {
    /// Every event from now on, of every job.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            receiver: self.board.events.subscribe(),
        }
    }

    /// The latest state of each running job, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        let mut jobs: Vec<_> = self
            .board
            .running()
            .values()
            .map(|entry| entry.view.clone())
            .collect();
        jobs.sort_unstable_by_key(|view| view.job);
        jobs
    }

    /// The latest state of this job; `None` if it does not run.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<JobView> {
        self.board
            .running()
            .get(&job)
            .map(|entry| entry.view.clone())
    }

    /// Watches this job until it ends; `None` if it does not run.
    #[must_use]
    pub fn watch(&self, job: JobId) -> Option<Watch> {
        let mut running = self.board.running();
        let entry = running.get_mut(&job)?;
        let receiver = match &entry.watch {
            Some(watch) => watch.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(entry.view.clone());
                entry.watch = Some(sender);
                receiver
            }
        };
        Some(Watch::new(receiver))
    }
}

impl fmt::Debug for ProgressHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressHandle")
            .field("running", &self.board.running().len())
            .finish_non_exhaustive()
    }
}

/// A reader of the stream of events. Made by [`ProgressHandle::subscribe`].
///
/// The stream is bounded: a reader that falls behind by more than the buffer loses the oldest events and is told so.
/// The latest states of [`ProgressHandle::jobs`] are not affected.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
}

impl Subscription {
    /// The next event; `None` once every layer and handle is gone.
    ///
    /// # Errors
    ///
    /// [`Lagged`] if events were lost before it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<Result<Event, Lagged>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    ///
    /// [`Lagged`] if events were lost before it.
    pub fn try_recv(&mut self) -> Option<Result<Event, Lagged>> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(TryRecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

/// A reader fell behind and events were lost to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell behind and missed {missed} events")]
pub struct Lagged {
    missed: u64,
}

impl Lagged {
    /// How many were lost.
    #[must_use]
    pub fn missed(self) -> u64 {
        self.missed
    }
}
