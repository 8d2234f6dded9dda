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

/// Records the events of the jobs it is registered with.
///
/// Clones are handles to the same record, so one goes into the layer and the test keeps the other. An assertion that
/// fails prints everything recorded, one event a line.
///
/// Recording an event takes constant time, and so do [`count`](Self::count), [`job`](Self::job) and
/// [`terminal`](Self::terminal): a condition of [`until`](Self::until) that uses these is cheap after each of many
/// events. What concerns one job takes time for the events of that job only.
///
/// # Behind a filter
///
/// Sequence numbers count all events of a job, also events that a filter keeps from this recorder. A skipped number is a
/// [gap](Self::gaps) only where no [level](tower_keep::log::LogLayer::level) explains it: that is, in a job of which an
/// event of the lowest level, DEBUG, was recorded. A level that lets one such event through lets all of them through.
/// Likewise `dispatched` is missing only where an event at INFO or below was recorded, and so is the ending.
///
/// A filter of another kind, such as one by the event's name, is unknown to the recorder:
/// [`behind_filter`](Self::behind_filter) tells it. So does it of a job that ends at DEBUG behind a level above that, as
/// a rejected duplicate does: a recorder cannot tell that one from a job that never ended.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    record: Mutex<Record>,
    /// A filter of any kind decides which events come.
    filtered: AtomicBool,
    changed: Signal,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty recorder that is shown only some of the events, whichever those are: no event counts as missing, and
    /// the order of the received events is still checked.
    #[must_use]
    pub fn behind_filter() -> Self {
        let recorder = Self::new();
        recorder.0.filtered.store(true, Ordering::Relaxed);
        recorder
    }

    /// Everything recorded, in the order it came.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        lock(&self.0.record).all().to_vec()
    }

    /// The events of one job.
    #[must_use]
    pub fn events_of(&self, job: JobId) -> Vec<Event> {
        self.select_of(job, Event::clone)
    }

    /// What happened, in the order it came.
    #[must_use]
    pub fn kinds(&self) -> Vec<EventKind> {
        self.select(|event| event.kind.clone())
    }

    /// What happened to one job.
    #[must_use]
    pub fn kinds_of(&self, job: JobId) -> Vec<EventKind> {
        self.select_of(job, |event| event.kind.clone())
    }

    /// The [names](EventKind::name) of the events, in the order they came.
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

    /// How many events of this name were recorded.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        lock(&self.0.record).count(name)
    }

    /// The jobs, in the order of their first event.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        lock(&self.0.record).jobs().to_vec()
    }

    /// The only job.
    ///
    /// # Panics
    ///
    /// If none or several were recorded.
    #[must_use]
    #[track_caller]
    pub fn job(&self) -> JobId {
        let jobs = match *lock(&self.0.record).jobs() {
            [job] => return job,
            ref jobs => jobs.len(),
        };
        panic!("one job expected, {jobs} recorded\n{self}")
    }

    /// How this job ended, if it has.
    #[must_use]
    pub fn terminal(&self, job: JobId) -> Option<EventKind> {
        lock(&self.0.record).terminal(job).cloned()
    }

    /// Forgets everything recorded.
    pub fn clear(&self) {
        let before = std::mem::take(&mut *lock(&self.0.record));
        drop(before);
        self.0.changed.notify();
    }

    /// Waits until `condition` holds, which is looked at now and after every event.
    ///
    /// # Panics
    ///
    /// If it does not within a year: on a paused clock, as soon as nothing else is left to happen. And outside a tokio
    /// runtime with a timer.
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
    /// If it were others.
    #[track_caller]
    pub fn assert_names<'a, I>(&self, expected: I)
    where
        I: IntoIterator<Item = &'a str>,
    {
        self.compare("the events", &self.names(), expected);
    }

    /// Asserts that exactly these events of `job` were recorded, in this order.
    ///
    /// # Panics
    ///
    /// If it were others.
    #[track_caller]
    pub fn assert_names_of<'a, I>(&self, job: JobId, expected: I)
    where
        I: IntoIterator<Item = &'a str>,
    {
        self.compare(
            &format!("the events of job {job}"),
            &self.names_of(job),
            expected,
        );
    }

    /// Asserts that every job's stream is whole, the jobs having ended:
    ///
    /// - it begins with `dispatched`, which comes once,
    /// - exactly one event is terminal, and it is the last,
    /// - `started` comes at most once, and before any progress or step, unless the job joined another before that,
    /// - the sequence numbers count from 0, upwards and without a [gap](Self::gaps).
    ///
    /// Behind a filter, this is asked of the events that the filter lets through: see [above](Self#behind-a-filter).
    ///
    /// # Panics
    ///
    /// If one of it does not hold, or if nothing was recorded at all.
    #[track_caller]
    pub fn assert_one_terminal_each(&self) {
        let faults = self.judge(|stream| stream.faults());
        assert!(faults.is_empty(), "{}\n{self}", faults.join("\n"));
    }

    /// The sequence numbers that the events of each job skip, where no level explains it: see
    /// [above](Self#behind-a-filter). Empty for a stream that is whole so far.
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
            "{what} are not the expected ones\nexpected: {expected:?}\n   found: {found:?}\n{self}",
        );
    }
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event) {
        lock(&self.0.record).push(event.clone());
        self.0.changed.notify();
    }
}

/// Everything recorded, one event a line.
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
