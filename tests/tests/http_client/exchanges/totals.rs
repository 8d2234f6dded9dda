//! What happened in many worlds: so that a plan without a fault does not go unnoticed.

use super::{
    Done,
    plan::End,
    record::{Arrival, Outcome},
};
use tower_keep::Rejection;

/// How often each kind of thing happened.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: u64,
    /// Each is an exchange.
    pub(super) attempts: u64,
    pub(super) arrivals: u64,
    pub(super) retries: u64,
    pub(super) responses: u64,
    pub(super) errors: u64,
    pub(super) dropped: u64,
    pub(super) timed_out: u64,
    pub(super) rejected: u64,
    pub(super) circuits_opened: u64,
    /// Attempts that never reached the application.
    pub(super) never_arrived: u64,
    /// Attempts of calls that must not be repeated, after an attempt that was not processed.
    pub(super) harmless: u64,
    pub(super) refused_streams: u64,
    pub(super) going_away: u64,
    /// Arrivals whose attempt ended with an error.
    pub(super) lost_responses: u64,
    /// Bodies that arrived completely, and not for the first time.
    pub(super) replayed: u64,
    /// Attempts after a wait that the server asked for.
    pub(super) asked: u64,
    pub(super) http2: u64,
}

impl Totals {
    pub(super) fn add(&mut self, done: &Done) {
        let (world, record) = (&done.world, done.world.record());
        self.calls += world.settings.calls;
        self.arrivals += record.arrivals.len() as u64;
        self.retries += record.planned.len() as u64;
        self.circuits_opened += done.opened;
        for (call, attempts) in &record.attempts {
            let call = world.call(*call);
            let count = attempts.len() as u64;
            self.attempts += count;
            if world.settings.http2 {
                self.http2 += count;
            }
            if !call.may_repeat(&world.settings) {
                self.harmless += count - 1;
            }
            for attempt in &attempts[..attempts.len() - 1] {
                if let Some(Outcome::Response { arrival, .. }) = attempt.outcome {
                    let arrival = record.arrivals.get(arrival);
                    self.asked += u64::from(arrival.and_then(Arrival::asks).is_some());
                }
            }
        }
        self.never_arrived = self.attempts - self.arrivals.min(self.attempts);
        for arrival in &record.arrivals {
            self.refused_streams += u64::from(arrival.was_refused);
            self.going_away += u64::from(arrival.answer.goes_away);
            self.lost_responses += u64::from(matches!(arrival.answer.end, End::Close | End::Fail));
            let has_body = !world.call(arrival.call).body.is_empty();
            let is_again = arrival.attempt > 1 && arrival.body == Some(true) && has_body;
            self.replayed += u64::from(is_again);
        }
        for result in record.results.values() {
            match result {
                Outcome::Response { .. } => self.responses += 1,
                Outcome::Dropped => self.dropped += 1,
                Outcome::Error { rejection, .. } => match rejection {
                    Some(Rejection::TimedOut) => self.timed_out += 1,
                    Some(_) => self.rejected += 1,
                    None => self.errors += 1,
                },
            }
        }
    }

    /// Asserts that each kind of thing happened.
    #[track_caller]
    pub(super) fn assert_all_kinds(&self) {
        let kinds = [
            self.retries,
            self.responses,
            self.errors,
            self.dropped,
            self.timed_out,
            self.rejected,
            self.circuits_opened,
            self.never_arrived,
            self.harmless,
            self.refused_streams,
            self.going_away,
            self.lost_responses,
            self.replayed,
            self.asked,
            self.http2,
        ];
        assert!(kinds.iter().all(|kind| *kind > 20), "{self:#?}");
    }
}
