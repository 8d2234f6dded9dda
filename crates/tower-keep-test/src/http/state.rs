//! What an origin shares with its connections: script, record, tasks.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Received, Reply,
    script::{Choice, Compute, Script, compute},
};
use crate::sync::{Signal, lock};

/// What happens to a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OnConnect {
    #[default]
    Serve,
    Refuse,
    Close,
    Reset,
    Hang,
}

/// How the test ends all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CutAll {
    #[default]
    Close,
    Reset,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) script: Mutex<Script>,
    pub(super) on_connect: Mutex<OnConnect>,
    log: Mutex<Log>,
    changed: Signal,
    cut: watch::Sender<CutAll>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Log {
    records: Vec<Record>,
    connections: usize,
    problems: Vec<String>,
}

struct Record {
    received: Received,
    body: BytesMut,
}

impl Record {
    fn snapshot(&self) -> Received {
        Received {
            body: Bytes::copy_from_slice(&self.body),
            ..self.received.clone()
        }
    }
}

#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    stopped: bool,
}

impl State {
    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut lock(&self.log));
        self.changed.notify();
        result
    }

    /// Counts a connection and returns its number.
    pub(super) fn connected(&self) -> usize {
        self.change(|log| {
            log.connections += 1;
            log.connections - 1
        })
    }

    pub(super) fn connections(&self) -> usize {
        lock(&self.log).connections
    }

    /// Ends all connections.
    pub(super) fn cut_all(&self, how: CutAll) {
        self.cut.send_replace(how);
    }

    /// Learns of each later [`cut_all`](Self::cut_all).
    pub(super) fn cuts(&self) -> watch::Receiver<CutAll> {
        self.cut.subscribe()
    }

    pub(super) fn problem(&self, problem: impl Into<String>) {
        let problem = problem.into();
        self.change(|log| log.problems.push(problem));
    }

    pub(super) fn problems(&self) -> Vec<String> {
        lock(&self.log).problems.clone()
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.log).records.len()
    }

    pub(super) fn received(&self) -> Vec<Received> {
        lock(&self.log)
            .records
            .iter()
            .map(Record::snapshot)
            .collect()
    }

    pub(super) async fn until(&self, condition: impl Fn(&[Received]) -> bool) -> bool {
        self.changed.until(|| condition(&self.received())).await
    }

    pub(super) fn begin(self: &Arc<Self>, received: Received) -> Ticket {
        let number = self.change(|log| {
            log.records.push(Record {
                received,
                body: BytesMut::new(),
            });
            log.records.len() - 1
        });
        Ticket {
            state: self.clone(),
            number,
            compute: None,
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        if !tasks.stopped {
            // Finished tasks need not be kept until the end.
            while tasks.running.try_join_next().is_some() {}
            tasks.running.spawn(task);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.tasks).stopped
    }

    /// Ends all tasks, now and later.
    pub(super) fn stop(&self) {
        let mut tasks = lock(&self.tasks);
        tasks.stopped = true;
        tasks.running.abort_all();
    }
}

/// The record of one request, and the choice of its reply.
pub(super) struct Ticket {
    state: Arc<State>,
    number: usize,
    compute: Option<Compute>,
}

impl Ticket {
    fn update(&self, change: impl FnOnce(&mut Record)) {
        self.state
            .change(|log| change(&mut log.records[self.number]));
    }

    pub(super) fn data(&self, data: &[u8]) {
        self.update(|record| record.body.extend_from_slice(data));
    }

    pub(super) fn complete(&self, trailers: Option<HeaderMap>) {
        self.update(|record| {
            record.received.complete = true;
            record.received.trailers = trailers;
        });
    }

    pub(super) fn unprocessed(&self) {
        self.update(|record| record.received.processed = false);
    }

    pub(super) fn abandoned(&self) {
        let now = Instant::now();
        self.update(|record| {
            record.received.abandoned.get_or_insert(now);
        });
    }

    pub(super) fn problem(&self, problem: impl Into<String>) {
        self.state.problem(problem);
    }

    /// The reply, if the script knows it before the body.
    pub(super) fn reply_at_head(&mut self) -> Option<Reply> {
        let choice = lock(&self.state.script).next();
        let reply = match choice {
            Choice::Reply(reply) => Some(reply),
            Choice::Ended { scripted } => Some(self.failed(format!(
                "the script of the origin ended after {scripted} replies: add a reply, or say what \
                 follows with `repeat_last` or `answer_with`"
            ))),
            Choice::Compute { reply, at_head } => {
                self.compute = Some(reply);
                at_head.then(|| self.compute())
            }
        };
        self.chosen(reply)
    }

    /// The reply to a complete request.
    pub(super) fn reply_when_complete(&mut self) -> Reply {
        let reply = self.compute();
        self.chosen(Some(reply)).expect("there is a reply")
    }

    fn chosen(&self, reply: Option<Reply>) -> Option<Reply> {
        if reply.as_ref().is_some_and(Reply::denies_processing) {
            self.unprocessed();
        }
        reply
    }

    fn compute(&self) -> Reply {
        let snapshot = lock(&self.state.log).records[self.number].snapshot();
        let reply = self.compute.as_ref().expect("the script chose a closure");
        compute(reply, &snapshot).unwrap_or_else(|problem| self.failed(problem))
    }

    fn failed(&self, problem: String) -> Reply {
        self.problem(problem.clone());
        Reply::status(500).body(problem)
    }
}
