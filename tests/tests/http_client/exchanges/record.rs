//! What happened in a world, as both ends saw it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;
use tower_keep::{Event, EventKind, Observer, Rejection};

use super::plan::{Answer, Asks, Call, Connect, SERVERS, Settings};

/// One world: its plan, and what happened so far.
#[derive(Debug)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) calls: Vec<Call>,
    /// The hosts and ports of the servers.
    pub(super) authorities: [String; SERVERS],
    pub(super) born: Instant,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    /// The attempts of each call, as the client began them.
    pub(super) attempts: BTreeMap<u64, Vec<Attempt>>,
    /// What the application of the origin received, in this order.
    pub(super) arrivals: Vec<Arrival>,
    /// What the user got.
    pub(super) results: BTreeMap<u64, Outcome>,
    /// The last events of the jobs.
    pub(super) endings: HashMap<u64, Vec<Event>>,
    /// When a retry was planned, by the call.
    pub(super) planned: Vec<(u64, Duration)>,
    pub(super) connections: u64,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) begun: Duration,
    pub(super) ended: Option<Duration>,
    /// The number that the job had.
    pub(super) number: u32,
    /// `None` while it runs, and if it was dropped.
    pub(super) outcome: Option<Outcome>,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The number of the arrival that was answered.
    Response { status: u16, arrival: usize },
    Error {
        text: String,
        rejection: Option<Rejection>,
    },
    /// The user dropped the call.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) call: u64,
    pub(super) attempt: u32,
    /// The value of the header of the earlier attempts.
    pub(super) earlier: u32,
    pub(super) at: Duration,
    pub(super) method: http::Method,
    pub(super) key: Option<String>,
    /// Whether the body that arrived was the body that was sent; `None` if it did not arrive
    /// completely.
    pub(super) body: Option<bool>,
    pub(super) answer: Answer,
    /// The application said that it did not process the request.
    pub(super) was_refused: bool,
}

impl Arrival {
    pub(super) fn asks(&self) -> Option<Asks> {
        self.answer.asks
    }
}

impl World {
    pub(super) fn new(settings: Settings, authorities: [String; SERVERS]) -> Arc<Self> {
        let calls = (0..settings.calls).map(|id| Call::of(&settings, id));
        Arc::new(Self {
            calls: calls.collect(),
            authorities,
            born: Instant::now(),
            record: Mutex::default(),
            settings,
        })
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    /// What happens to the next connection.
    pub(super) fn next_connection(&self) -> Connect {
        let mut record = self.record();
        record.connections += 1;
        Connect::of(&self.settings, record.connections)
    }

    /// The present time of the world.
    pub(super) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    pub(super) fn call(&self, id: u64) -> &Call {
        &self.calls[usize::try_from(id).unwrap()]
    }
}

/// Records how each job ended, and when its retries were planned.
#[derive(Clone, Debug)]
pub(super) struct Watcher(pub(super) Arc<World>);

impl Observer for Watcher {
    fn on_event(&self, event: &Event) {
        let id = event.external_id.as_deref().map(str::parse);
        let Some(Ok(call)) = id else { return };
        let mut record = self.0.record();
        if matches!(event.kind, EventKind::RetryScheduled { .. }) {
            record.planned.push((call, event.at - self.0.born));
        }
        if event.kind.is_terminal() {
            record.endings.entry(call).or_default().push(event.clone());
        }
    }
}
