//! [`Recorder`]: records the events of jobs and checks their streams.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_keep::{Event, EventKind, JobId, Observer};

use crate::{
    record::Record,
    stream::{Line, Stream},
    sync::{Signal, lock},
};

/// Records the events of the jobs that it is registered with.
///
/// Clones share the record: one goes into the layer and the test keeps the other. A failed
/// assertion prints all recorded events, one per line.
///
/// Recording an event takes constant time. So do [`count`](Self::count), [`job`](Self::job) and
/// [`terminal`](Self::terminal), which are cheap conditions for [`until`](Self::until). Methods for
/// one job take time in the number of its events only.
///
/// # Behind a filter
///
/// Sequence numbers count all events of a job, including events that a filter hides from this
/// recorder. The recorder knows filters by [level](tower_keep::log::LogLayer::level):
///
/// - A skipped number is a [gap](Self::gaps) only if the job has a recorded event at DEBUG, the
///   lowest level. A level that passes one such event passes all events.
/// - `dispatched` and the ending are missing only if the job has a recorded event at INFO or below.
///
/// For any other filter, use [`behind_filter`](Self::behind_filter). Use it too if a job ends at
/// DEBUG behind a higher level, as a rejected duplicate does: the recorder cannot distinguish it
/// from a job that never ended.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    record: Mutex<Record>,
    /// A filter of any kind may hide events.
    filtered: AtomicBool,
    changed: Signal,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty recorder behind a filter of any kind: no event counts as missing. The order of the
    /// received events is still checked.
    #[must_use]
    pub fn behind_filter() -> Self {
        let recorder = Self::new();
        recorder.0.filtered.store(true, Ordering::Relaxed);
        recorder
    }

    /// All recorded events, in order of arrival.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        lock(&self.0.record).all().to_vec()
    }

    /// The events of one job.
    #[must_use]
    pub fn events_of(&self, job: JobId) -> Vec<Event> {
        self.select_of(job, Event::clone)
    }

    /// The kinds of all events, in order of arrival.
    #[must_use]
    pub fn kinds(&self) -> Vec<EventKind> {
        self.select(|event| event.kind.clone())
    }

    /// The kinds of one job's events.
    #[must_use]
    pub fn kinds_of(&self, job: JobId) -> Vec<EventKind> {
        self.select_of(job, |event| event.kind.clone())
    }

    /// The [names](EventKind::name) of all events, in order of arrival.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.select(|event| event.kind.name())
    }

    /// The names of one job's events.
    #[must_use]
    pub fn names_of(&self, job: JobId) -> Vec<&'static str> {
        self.select_of(job, |event| event.kind.name())
    }

    /// The names of the events, each with the time since its job was dispatched.
    #[must_use]
    pub fn times(&self) -> Vec<(&'static str, Duration)> {
        self.select(|event| (event.kind.name(), event.elapsed))
    }

    /// The names of one job's events, each with the time since the job was dispatched.
    #[must_use]
    pub fn times_of(&self, job: JobId) -> Vec<(&'static str, Duration)> {
        self.select_of(job, |event| (event.kind.name(), event.elapsed))
    }

    /// The number of recorded events with this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        lock(&self.0.record).count(name)
    }

    /// The jobs, in the order of their first event.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        lock(&self.0.record).jobs().to_vec()
    }

    /// The only recorded job.
    ///
    /// # Panics
    ///
    /// If no job or several jobs were recorded.
    #[must_use]
    #[track_caller]
    pub fn job(&self) -> JobId {
        let jobs = match *lock(&self.0.record).jobs() {
            [job] => return job,
            ref jobs => jobs.len(),
        };
        panic!("one job expected, {jobs} recorded\n{self}")
    }

    /// How this job ended; `None` if it has not.
    #[must_use]
    pub fn terminal(&self, job: JobId) -> Option<EventKind> {
        lock(&self.0.record).terminal(job).cloned()
    }

    /// Deletes all recorded events.
    pub fn clear(&self) {
        let before = std::mem::take(&mut *lock(&self.0.record));
        drop(before);
        self.0.changed.notify();
    }

    /// Waits until `condition` holds. It is checked now and after every event.
    ///
    /// # Panics
    ///
    /// If the condition does not hold within a year; on a paused clock that is as soon as nothing
    /// else can happen. Also outside a tokio runtime with a timer.
    pub async fn until<F>(&self, condition: F)
    where
        F: Fn(&Self) -> bool,
    {
        let came = self.0.changed.until(|| condition(self)).await;
        assert!(came, "the awaited condition never came\n{self}");
    }

    /// Asserts that exactly these events were recorded, in this order, over all jobs.
    ///
    /// # Panics
    ///
    /// If other events were recorded.
    #[track_caller]
    pub fn assert_names<'a, I>(&self, expected: I)
    where
        I: IntoIterator<Item = &'a str>,
    {
        self.compare("events", &self.names(), expected);
    }

    /// Asserts that exactly these events of `job` were recorded, in this order.
    ///
    /// # Panics
    ///
    /// If other events were recorded.
    #[track_caller]
    pub fn assert_names_of<'a, I>(&self, job: JobId, expected: I)
    where
        I: IntoIterator<Item = &'a str>,
    {
        self.compare(
            &format!("events of job {job}"),
            &self.names_of(job),
            expected,
        );
    }

    /// Asserts that every job has ended, and that its event stream is complete:
    ///
    /// - it begins with `dispatched`, which comes once,
    /// - exactly one event is terminal, and it is the last,
    /// - `started` comes at most once, and before any progress or step, unless the job joined
    ///   another job first,
    /// - the sequence numbers increase from 0 without a [gap](Self::gaps).
    ///
    /// Behind a filter, only the visible events are checked: see [above](Self#behind-a-filter).
    ///
    /// # Panics
    ///
    /// If a rule is broken, or if nothing was recorded.
    #[track_caller]
    pub fn assert_one_terminal_each(&self) {
        let faults = self.judge(|stream| stream.faults());
        assert!(faults.is_empty(), "{}\n{self}", faults.join("\n"));
    }

    /// The missing sequence numbers of each job, unless a level explains them: see
    /// [above](Self#behind-a-filter). Empty for a complete stream.
    #[must_use]
    pub fn gaps(&self) -> Vec<(JobId, Range<u64>)> {
        self.judge(|stream| stream.gaps())
    }

    fn judge<T>(&self, judge: impl FnOnce(&Stream<'_>) -> T) -> T {
        let record = lock(&self.0.record);
        let stream = Stream::of(record.all());
        if self.0.filtered.load(Ordering::Relaxed) {
            judge(&stream.behind_filter())
        } else {
            judge(&stream)
        }
    }

    fn select<T>(&self, pick: impl FnMut(&Event) -> T) -> Vec<T> {
        lock(&self.0.record).all().iter().map(pick).collect()
    }

    fn select_of<T>(&self, job: JobId, pick: impl FnMut(&Event) -> T) -> Vec<T> {
        lock(&self.0.record).of(job).map(pick).collect()
    }

    #[track_caller]
    fn compare<'a, I>(&self, what: &str, found: &[&str], expected: I)
    where
        I: IntoIterator<Item = &'a str>,
    {
        let expected: Vec<&str> = expected.into_iter().collect();
        assert!(
            found == expected,
            "unexpected {what}\nexpected: {expected:?}\n   found: {found:?}\n{self}",
        );
    }
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event) {
        lock(&self.0.record).push(event.clone());
        self.0.changed.notify();
    }
}

/// All recorded events, one per line.
impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.judge(|stream| stream.fmt(f))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.events()
                    .iter()
                    .map(|event| Line::from(event).to_string()),
            )
            .finish()
    }
}
