//! The board: the running jobs, the history, and the readers.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{broadcast, watch};

use super::{mailbox::Mailbox, view::JobView};
use crate::{
    error::unharmed,
    event::{Event, EventKind, JobId, JobMap, JobName, Observer},
};

/// How many jobs that ended are kept, unless the layer says otherwise.
const HISTORY: usize = 100;

/// What the layer's clones share: the jobs, and the stream of events.
pub(super) struct Board {
    /// Held for a look-up and copies only. The readers' mailboxes are the only locks taken meanwhile.
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    /// How many events it keeps for readers that are behind.
    buffer: usize,
}

struct State {
    running: JobMap<Entry>,
    /// In the order of their endings.
    ended: VecDeque<JobView>,
    history: usize,
    /// Shared, so that they can be woken without the lock.
    readers: Readers,
}

type Readers = Arc<[Arc<Mailbox>]>;

struct Entry {
    view: JobView,
    /// Made when somebody watches the job.
    watch: Option<watch::Sender<JobView>>,
}

/// The jobs of a board at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The latest state of each running job, oldest first.
    pub running: Vec<JobView>,
    /// How the last jobs ended, in the order of their endings; bounded by the layer's
    /// [`history`](super::ProgressLayer::history).
    pub history: Vec<JobView>,
}

impl State {
    fn running(&self) -> Vec<JobView> {
        self.running
            .values()
            .map(|entry| entry.view.clone())
            .collect()
    }

    fn history(&self) -> Vec<JobView> {
        self.ended.iter().cloned().collect()
    }

    /// Keeps an ending; returns the one that makes room for it.
    fn keep(&mut self, view: JobView) -> Option<JobView> {
        if self.history == 0 {
            return Some(view);
        }
        let out = (self.ended.len() >= self.history).then(|| self.ended.pop_front());
        if self.ended.capacity() == 0 {
            // The usual history at once, so that it does not grow under the lock.
            self.ended.reserve_exact(self.history.min(HISTORY));
        }
        self.ended.push_back(view);
        out.flatten()
    }
}

impl Board {
    pub(super) fn new(buffer: usize) -> Self {
        Self {
            state: Mutex::new(State {
                running: JobMap::default(),
                ended: VecDeque::new(),
                history: HISTORY,
                readers: Arc::default(),
            }),
            events: broadcast::Sender::new(buffer),
            buffer,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_history(&self, jobs: usize) {
        let _out: VecDeque<_> = {
            let mut state = self.state();
            state.history = jobs;
            let surplus = state.ended.len().saturating_sub(jobs);
            state.ended.drain(..surplus).collect()
        };
    }

    /// How many events and how many jobs that ended it keeps.
    pub(super) fn settings(&self) -> (usize, usize) {
        (self.buffer, self.state().history)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.running.len(), state.ended.len())
    }

    pub(super) fn running(&self) -> Vec<JobView> {
        let running = self.state().running();
        sorted(running)
    }

    pub(super) fn history(&self) -> Vec<JobView> {
        self.state().history()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let (running, history) = {
            let state = self.state();
            (state.running(), state.history())
        };
        Snapshot {
            running: sorted(running),
            history,
        }
    }

    /// A snapshot, and a mailbox in which all that comes after it is left.
    pub(super) fn open_mailbox(&self) -> (Snapshot, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::default());
        let (running, history, _before) = {
            let mut state = self.state();
            let readers = state.readers.iter().chain([&mailbox]).cloned().collect();
            let before = mem::replace(&mut state.readers, readers);
            (state.running(), state.history(), before)
        };
        let snapshot = Snapshot {
            running: sorted(running),
            history,
        };
        (snapshot, mailbox)
    }

    /// Leaves nothing more for this reader.
    pub(super) fn forget(&self, mailbox: &Arc<Mailbox>) {
        // Dropped without the lock: a reader's waker is not ours.
        let _before = {
            let mut state = self.state();
            let others = state.readers.iter();
            let others = others.filter(|other| !Arc::ptr_eq(other, mailbox));
            let readers = others.cloned().collect();
            mem::replace(&mut state.readers, readers)
        };
    }

    pub(super) fn view(&self, job: JobId) -> Option<JobView> {
        let state = self.state();
        state.running.get(&job).map(|entry| entry.view.clone())
    }

    /// Running, or ended and still in the history.
    pub(super) fn find(&self, job: JobId) -> Option<JobView> {
        let state = self.state();
        match state.running.get(&job) {
            Some(entry) => Some(entry.view.clone()),
            None => state
                .ended
                .iter()
                .rev()
                .find(|view| view.job == job)
                .cloned(),
        }
    }

    pub(super) fn watch(&self, job: JobId) -> Option<watch::Receiver<JobView>> {
        let mut state = self.state();
        let entry = state.running.get_mut(&job)?;
        Some(match &entry.watch {
            Some(watch) => watch.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(entry.view.clone());
                entry.watch = Some(sender);
                receiver
            }
        })
    }
}

fn sorted(mut views: Vec<JobView>) -> Vec<JobView> {
    views.sort_unstable_by_key(|view| view.job);
    views
}

/// Who is to be told of a change, after the lock is released: their wakers are not ours.
#[derive(Default)]
struct Told {
    watch: Option<(watch::Sender<JobView>, JobView)>,
    readers: Option<Readers>,
    /// Dropped then, too.
    _out: Option<JobView>,
}

impl State {
    fn apply(&mut self, event: &Event) -> Told {
        let job = event.job;
        match &event.kind {
            EventKind::Dispatched => {
                let view = JobView::new(event);
                let readers = post(&self.readers, &view);
                self.running.insert(job, Entry { view, watch: None });
                Told {
                    readers,
                    ..Told::default()
                }
            }
            kind if kind.is_terminal() => {
                let Some(mut entry) = self.running.remove(&job) else {
                    return Told::default();
                };
                entry.view.apply(event);
                Told {
                    readers: post(&self.readers, &entry.view),
                    watch: entry.watch.map(|watch| (watch, entry.view.clone())),
                    _out: self.keep(entry.view),
                }
            }
            _ => self.change(job, |view| view.apply(event)),
        }
    }

    fn name(&mut self, job: JobId, name: &JobName) -> Told {
        self.change(job, |view| view.name = name.clone())
    }

    #[inline(always)]
    fn change(&mut self, job: JobId, change: impl FnOnce(&mut JobView)) -> Told {
        let Some(entry) = self.running.get_mut(&job) else {
            return Told::default();
        };
        change(&mut entry.view);
        let watch = entry.watch.clone();
        Told {
            readers: post(&self.readers, &entry.view),
            watch: watch.map(|watch| (watch, entry.view.clone())),
            _out: None,
        }
    }
}

/// Leaves a view for each reader; returns those to be woken, if there are any.
fn post(readers: &Readers, view: &JobView) -> Option<Readers> {
    if readers.is_empty() {
        return None;
    }
    for reader in &**readers {
        reader.put(view);
    }
    Some(Arc::clone(readers))
}

impl Told {
    #[inline(always)]
    fn tell(self) {
        if let Some((watch, view)) = self.watch {
            unharmed(|| drop(watch.send_replace(view)));
        }
        for reader in self.readers.iter().flat_map(|readers| &**readers) {
            unharmed(|| reader.wake());
        }
    }
}

impl Observer for Board {
    fn on_named(&self, job: JobId, name: &JobName) {
        // A statement of its own: the lock is released before any listener runs.
        let told = self.state().name(job, name);
        told.tell();
    }

    fn on_event(&self, event: &Event) {
        let told = self.state().apply(event);
        told.tell();
        if self.events.receiver_count() > 0 {
            // It fails only when the last receiver went away meanwhile.
            let _ = self.events.send(event.clone());
        }
    }
}

/// Nothing is left that could change.
impl Drop for Board {
    fn drop(&mut self) {
        let readers = mem::take(&mut self.state().readers);
        for reader in &*readers {
            reader.close();
        }
    }
}

#[cfg(test)]
mod tests;
