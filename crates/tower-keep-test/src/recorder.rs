use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_keep::{Event, EventKind, JobId, Observer};

use crate::{
    stream::{Line, Stream},
    sync::{Signal, lock},
};

/// Records the events of the jobs it is registered with.
///
/// Clones are handles to the same record, so one goes into the layer and the test keeps the other. An assertion that
/// fails prints everything recorded, one event a line.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    events: Mutex<Vec<Event>>,
    changed: Signal,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything recorded, in the order it came.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        lock(&self.0.events).clone()
    }

    /// The events of one job.
    #[must_use]
    pub fn events_of(&self, job: JobId) -> Vec<Event> {
        self.select(|event| (event.job == job).then(|| event.clone()))
    }

    /// What happened, in the order it came.
    #[must_use]
    pub fn kinds(&self) -> Vec<EventKind> {
        self.select(|event| Some(event.kind.clone()))
    }

    /// What happened to one job.
    #[must_use]
    pub fn kinds_of(&self, job: JobId) -> Vec<EventKind> {
        self.select(|event| (event.job == job).then(|| event.kind.clone()))
    }

    /// The [names](EventKind::name) of the events, in the order they came.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.select(|event| Some(event.kind.name()))
    }

    /// The names of one job's events.
    #[must_use]
    pub fn names_of(&self, job: JobId) -> Vec<&'static str> {
        self.select(|event| (event.job == job).then(|| event.kind.name()))
    }

    /// The names of the events, each with the time since its job was dispatched.
    #[must_use]
    pub fn times(&self) -> Vec<(&'static str, Duration)> {
        self.select(|event| Some((event.kind.name(), event.elapsed)))
    }

    /// The names of one job's events, each with the time since the job was dispatched.
    #[must_use]
    pub fn times_of(&self, job: JobId) -> Vec<(&'static str, Duration)> {
        self.select(|event| (event.job == job).then(|| (event.kind.name(), event.elapsed)))
    }

    /// How many events of this name were recorded.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.names()
            .into_iter()
            .filter(|known| *known == name)
            .count()
    }

    /// The jobs, in the order of their first event.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for event in lock(&self.0.events).iter() {
            if !jobs.contains(&event.job) {
                jobs.push(event.job);
            }
        }
        jobs
    }

    /// The only job.
    ///
    /// # Panics
    ///
    /// If none or several were recorded.
    #[must_use]
    #[track_caller]
    pub fn job(&self) -> JobId {
        match *self.jobs() {
            [job] => job,
            ref jobs => panic!("one job expected, {} recorded\n{self}", jobs.len()),
        }
    }

    /// How this job ended, if it has.
    #[must_use]
    pub fn terminal(&self, job: JobId) -> Option<EventKind> {
        let mut kinds = self.kinds_of(job).into_iter();
        kinds.find(EventKind::is_terminal)
    }

    /// Forgets everything recorded.
    pub fn clear(&self) {
        lock(&self.0.events).clear();
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
    /// - the sequence numbers count from 0 without a gap.
    ///
    /// # Panics
    ///
    /// If one of it does not hold, or if nothing was recorded at all.
    #[track_caller]
    pub fn assert_one_terminal_each(&self) {
        let events = self.events();
        let faults = Stream::of(&events).faults();
        assert!(faults.is_empty(), "{}\n{self}", faults.join("\n"));
    }

    fn select<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
        lock(&self.0.events).iter().filter_map(pick).collect()
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
        lock(&self.0.events).push(event.clone());
        self.0.changed.notify();
    }
}

/// Everything recorded, one event a line.
impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Stream::of(&self.events()).fmt(f)
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
