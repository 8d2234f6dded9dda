//! The rules that each world has to obey.

use std::{fmt, time::Duration};

use tower_keep::{
    EventKind, FailureCause, Rejection,
    circuit_breaker::CircuitsHandle,
    http::{Authority, body::BodyEnd},
};

use super::{
    client::Client,
    plan::{Asks, Call, SERVERS, Stack},
    record::{Arrival, Attempt, Outcome, Record, World},
};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) call: Option<u64>,
    pub(super) text: String,
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A request that may not be repeated arrives at most once. A repeated one keeps its key.
    Once,
    /// No request arrives earlier than asked.
    NotEarly,
    /// A call has at most one arrival for each attempt, and no more attempts than allowed.
    MaxRetries,
    /// A body that arrives completely is the body that was sent.
    Body,
    /// The user gets the result of the last attempt.
    LastResult,
    /// The retries to a server stay within its budget.
    Budget,
    /// The job has one end, and it fits to the result.
    Ending,
    /// Nothing is left after the last call.
    NothingLeft,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Some(call) => write!(f, "{:?} of call {call}: {}", self.rule, self.text),
            None => write!(f, "{:?}: {}", self.rule, self.text),
        }
    }
}

/// Collects violations.
struct Check<'a> {
    world: &'a World,
    record: &'a Record,
    violations: Vec<Violation>,
}

/// All violations in a world whose calls have ended.
pub(super) fn check(world: &World, client: &Client) -> Vec<Violation> {
    let record = world.record();
    let mut check = Check {
        world,
        record: &record,
        violations: Vec::new(),
    };
    for call in &world.calls {
        let arrivals = record.arrivals.iter();
        let arrivals: Vec<_> = arrivals.filter(|arrival| arrival.call == call.id).collect();
        let attempts = record.attempts.get(&call.id).map_or(&[][..], Vec::as_slice);
        check.once(call, &arrivals);
        check.not_early(call, &arrivals, attempts);
        check.max_retries(call, &arrivals, attempts);
        check.bodies(call, &arrivals);
        check.last_result(call, attempts);
        check.ending(call);
    }
    for server in 0..SERVERS {
        check.budget(server);
    }
    check.nothing_left(client, &client.circuits);
    check.violations
}

impl Check<'_> {
    fn require(
        &mut self,
        holds: bool,
        rule: Rule,
        call: impl Into<Option<u64>>,
        text: impl FnOnce() -> String,
    ) {
        if !holds {
            self.violations.push(Violation {
                rule,
                call: call.into(),
                text: text(),
            });
        }
    }

    fn once(&mut self, call: &Call, arrivals: &[&Arrival]) {
        let processed = arrivals.iter().filter(|arrival| !arrival.was_refused);
        let processed = processed.count();
        let is_allowed = processed <= 1 || call.may_repeat(&self.world.settings);
        self.require(is_allowed, Rule::Once, call.id, || {
            format!("{} arrived {processed} times: {arrivals:#?}", call.method)
        });
        let needs_key = self.world.settings.keys && !call.method.is_idempotent();
        for arrival in arrivals {
            let same = arrival.key == arrivals[0].key && arrival.method == call.method;
            let has_key = arrival.key.as_ref().is_some_and(|key| key.len() > 2);
            let expected = same && (has_key || !needs_key);
            self.require(expected, Rule::Once, call.id, || {
                format!("the keys or methods differ: {arrivals:#?}")
            });
        }
    }

    fn not_early(&mut self, call: &Call, arrivals: &[&Arrival], attempts: &[Attempt]) {
        for (index, pair) in attempts.windows(2).enumerate() {
            let (Some(ended), Some(Outcome::Response { arrival, .. })) =
                (pair[0].ended, &pair[0].outcome)
            else {
                continue;
            };
            let Some(asks) = self.record.arrivals.get(*arrival).and_then(Arrival::asks) else {
                continue;
            };
            let next = index + 2;
            let arrived = arrivals
                .iter()
                .filter(|arrival| arrival.attempt as usize == next);
            let moments = arrived.map(|arrival| arrival.at).chain([pair[1].begun]);
            for moment in moments {
                let is_late = match asks {
                    Asks::Wait(wait) => moment >= ended + wait,
                    Asks::Never => false,
                };
                self.require(is_late, Rule::NotEarly, call.id, || {
                    format!("{asks:?} at {ended:?}, and attempt {next} came at {moment:?}")
                });
            }
        }
    }

    fn max_retries(&mut self, call: &Call, arrivals: &[&Arrival], attempts: &[Attempt]) {
        let most = self.world.settings.max_retries as usize + 1;
        self.require(attempts.len() <= most, Rule::MaxRetries, call.id, || {
            format!("{} attempts, and {most} are allowed", attempts.len())
        });
        for (index, attempt) in attempts.iter().enumerate() {
            let number = index + 1;
            let same = attempt.number as usize == number;
            self.require(same, Rule::MaxRetries, call.id, || {
                format!("attempt {number} is number {} of its job", attempt.number)
            });
            let arrived = arrivals
                .iter()
                .filter(|arrival| arrival.attempt as usize == number);
            let arrived = arrived.count();
            self.require(arrived <= 1, Rule::MaxRetries, call.id, || {
                format!("attempt {number} arrived {arrived} times")
            });
        }
        for arrival in arrivals {
            let is_right = arrival.earlier + 1 == arrival.attempt;
            self.require(is_right, Rule::MaxRetries, call.id, || {
                format!(
                    "attempt {} says {} earlier",
                    arrival.attempt, arrival.earlier
                )
            });
        }
    }

    fn bodies(&mut self, call: &Call, arrivals: &[&Arrival]) {
        for arrival in arrivals {
            self.require(arrival.body != Some(false), Rule::Body, call.id, || {
                format!("the body of attempt {} differs", arrival.attempt)
            });
        }
    }

    fn last_result(&mut self, call: &Call, attempts: &[Attempt]) {
        let last = attempts.last();
        let result = self.record.results.get(&call.id);
        let is_last = match (result, last.map(|attempt| &attempt.outcome)) {
            (Some(Outcome::Dropped), _) => true,
            (
                Some(Outcome::Response { status, arrival }),
                Some(Some(Outcome::Response {
                    status: last,
                    arrival: from,
                })),
            ) => (status, arrival) == (last, from),
            // The time for the whole call ends at any moment.
            (
                Some(Outcome::Error {
                    rejection: Some(Rejection::TimedOut),
                    ..
                }),
                _,
            ) if self.took_too_long(call) => true,
            (
                Some(Outcome::Error {
                    rejection: Some(Rejection::TimedOut),
                    ..
                }),
                Some(None),
            ) => true,
            (
                Some(Outcome::Error {
                    rejection: Some(Rejection::CircuitOpen),
                    ..
                }),
                None,
            ) => true,
            (
                Some(Outcome::Error {
                    text,
                    rejection: None,
                }),
                Some(Some(Outcome::Error { text: last, .. })),
            ) => text.ends_with(last),
            _ => false,
        };
        self.require(is_last, Rule::LastResult, call.id, || {
            format!("the user got {result:?} after {attempts:#?}")
        });
    }

    fn took_too_long(&self, call: &Call) -> bool {
        let ended = self
            .record
            .endings
            .get(&call.id)
            .and_then(|events| events.last());
        let took = ended.map(|event| event.at - self.world.born - call.start);
        self.world.settings.stack != Stack::Retry
            && took.is_some_and(|took| took >= self.world.settings.overall_limit)
    }

    fn budget(&mut self, server: usize) {
        let settings = &self.world.settings;
        let of = |call: &u64| self.world.call(*call).server == server;
        let attempts = self.record.attempts.iter().filter(|(call, _)| of(call));
        let first: Vec<Duration> = attempts.map(|(_, attempts)| attempts[0].begun).collect();
        let planned = self.record.planned.iter().filter(|(call, _)| of(call));
        let planned: Vec<Duration> = planned.map(|(_, at)| *at).collect();
        // The window moves in steps of a tenth.
        let step = settings.budget_window / 10;
        let within = |moments: &[Duration], now: Duration, window: Duration| {
            let moments = moments.iter();
            let recent = moments.filter(|at| **at <= now && **at + window > now);
            recent.count() as u64
        };
        let mut broken = Vec::new();
        for &now in &planned {
            let retries = within(&planned, now, settings.budget_window - step);
            let calls = within(&first, now, settings.budget_window + step);
            let share = calls * u64::from(settings.budget_share) / 100;
            if retries > share.max(settings.budget_floor.into()) {
                broken.push(format!("{retries} retries for {calls} calls at {now:?}"));
            }
        }
        self.require(broken.is_empty(), Rule::Budget, None, || {
            format!("server {server}: {broken:#?}")
        });
    }

    fn ending(&mut self, call: &Call) {
        let events = self
            .record
            .endings
            .get(&call.id)
            .map_or(&[][..], Vec::as_slice);
        let result = self.record.results.get(&call.id);
        let fits = match (events, result) {
            ([event], Some(result)) => match (&event.kind, result) {
                (EventKind::Cancelled { .. }, Outcome::Dropped) => true,
                (kind, Outcome::Response { status, arrival }) => {
                    let shown = event.http.as_ref().and_then(|http| http.status);
                    let answer = self.record.arrivals.get(*arrival);
                    // A failure that the retry does not repeat fails the job too.
                    let fails = answer.map_or(*status >= 500, |Arrival { answer, .. }| {
                        answer.fails_job() || answer.may_pass()
                    });
                    // The log follows the body if it is the outermost layer.
                    let body = event.http.as_ref().and_then(|http| http.body);
                    let is_cut = matches!(body, Some(BodyEnd::Truncated | BodyEnd::Stalled));
                    let is_right = match kind {
                        EventKind::Succeeded => !fails,
                        EventKind::Failed { cause, .. } => {
                            (fails || is_cut) && *cause == FailureCause::Error
                        }
                        _ => false,
                    };
                    is_right && shown.is_some_and(|shown| shown.as_u16() == *status)
                }
                (EventKind::Failed { cause, .. }, Outcome::Error { rejection, .. }) => {
                    let expected = match rejection {
                        Some(Rejection::TimedOut) => FailureCause::TimedOut,
                        Some(Rejection::CircuitOpen) => FailureCause::CircuitOpen,
                        _ => FailureCause::Error,
                    };
                    *cause == expected
                }
                _ => false,
            },
            _ => false,
        };
        self.require(fits, Rule::Ending, call.id, || {
            format!("the user got {result:?}, and the job ended with {events:#?}")
        });
    }

    fn nothing_left(&mut self, client: &Client, circuits: &CircuitsHandle<Authority>) {
        let jobs = client.progress.jobs();
        self.require(jobs.is_empty(), Rule::NothingLeft, None, || {
            format!("{jobs:#?}")
        });
        for (authority, circuit) in circuits.circuits() {
            let snapshot = circuit.snapshot();
            self.require(snapshot.probes == 0, Rule::NothingLeft, None, || {
                format!("{authority}: {snapshot:#?}")
            });
        }
        let running = self
            .record
            .attempts
            .iter()
            .filter(|(_, attempts)| attempts.iter().any(|attempt| attempt.ended.is_none()));
        let running: Vec<_> = running.map(|(call, _)| call).collect();
        self.require(running.is_empty(), Rule::NothingLeft, None, || {
            format!("attempts of these calls still run: {running:?}")
        });
    }
}
