//! Counts the slow calls among the calls in flight, in constant memory. Pure.
//!
//! Calls are counted by the time of their beginning, in buckets of a sixteenth of the slow-call
//! duration. A bucket counts as slow when all its calls are slow. Times are nanoseconds since a
//! fixed instant.

use std::time::Duration;

const BUCKETS: u64 = 16;

/// The number of buckets that may hold calls that are not slow yet.
const YOUNG: usize = BUCKETS as usize + 1;

#[derive(Debug)]
pub(super) struct SlowInFlight {
    /// Calls that began before this time are unknown.
    since: u64,
    /// The length of a bucket; at least 1.
    width: u64,
    /// The age in buckets from which all calls of a bucket are slow.
    slow_age: u64,
    /// The number of the current bucket, counted from time zero.
    current: u64,
    /// The calls in flight of each young bucket, in a ring.
    young: [u64; YOUNG],
    slow: u64,
}

impl SlowInFlight {
    pub(super) fn new(slow_after: Duration, now: u64) -> Self {
        let nanos = nanos(slow_after);
        let width = nanos.div_ceil(BUCKETS).max(1);
        // Calls that began at this moment count as unknown.
        let since = now.saturating_add(1);
        Self {
            since,
            width,
            slow_age: nanos.div_ceil(width),
            current: since / width,
            young: [0; YOUNG],
            slow: 0,
        }
    }

    fn slot(bucket: u64) -> usize {
        (bucket % YOUNG as u64) as usize
    }

    fn is_slow(&self, bucket: u64) -> bool {
        // The last call of a bucket began right before the next bucket.
        bucket.saturating_add(self.slow_age) < self.current
    }

    fn advance(&mut self, now: u64) {
        let known = self.current.saturating_sub(self.slow_age)..=self.current;
        self.current = self.current.max(now / self.width);
        for bucket in known {
            if self.is_slow(bucket) {
                self.slow += std::mem::take(&mut self.young[Self::slot(bucket)]);
            }
        }
    }

    /// Counts the beginning of a call. Returns its time, for [`end`](Self::end).
    pub(super) fn begin(&mut self, now: u64) -> u64 {
        self.advance(now);
        self.young[Self::slot(self.current)] += 1;
        now.max(self.since).max(self.current * self.width)
    }

    /// Counts the end of a call that began at `began`.
    pub(super) fn end(&mut self, began: u64, now: u64) {
        if began < self.since {
            return;
        }
        self.advance(now);
        let bucket = began / self.width;
        let calls = if self.is_slow(bucket) {
            &mut self.slow
        } else {
            &mut self.young[Self::slot(bucket)]
        };
        // A call that began in the moment of creation may not have been counted.
        *calls = calls.saturating_sub(1);
    }

    /// The number of slow calls.
    pub(super) fn slow(&mut self, now: u64) -> u64 {
        self.advance(now);
        self.slow
    }
}

/// Nanoseconds, saturating at 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Action {
        Begin,
        End(usize),
        Wait(u64),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            3 => Just(Action::Begin),
            3 => any::<usize>().prop_map(Action::End),
            2 => (0..40_u64).prop_map(Action::Wait),
            1 => (0..5000_u64).prop_map(Action::Wait),
        ]
    }

    proptest! {
        /// No call counts before it is slow. Each call counts within two buckets after.
        #[test]
        fn brackets_the_model(
            slow_after in 0..2000_u64,
            start in 0..100_u64,
            actions in proptest::collection::vec(action(), 1..200),
        ) {
            let mut now = start;
            let mut in_flight = SlowInFlight::new(Duration::from_nanos(slow_after), now);
            let mut calls: Vec<u64> = Vec::new();
            let slack = slow_after.div_ceil(BUCKETS).max(1);
            for action in actions {
                match action {
                    Action::Begin => calls.push(in_flight.begin(now)),
                    Action::End(call) if !calls.is_empty() => {
                        let began = calls.swap_remove(call % calls.len());
                        in_flight.end(began, now);
                    }
                    Action::End(_) => {}
                    Action::Wait(nanos) => now += nanos,
                }
                let slow = in_flight.slow(now) as usize;
                let older = |than: u64| calls.iter().filter(|began| **began + than <= now).count();
                prop_assert!(slow <= older(slow_after));
                prop_assert!(slow >= older(slow_after + 2 * slack));
            }
        }
    }

    #[test]
    fn what_began_before_is_not_known() {
        let mut in_flight = SlowInFlight::new(Duration::from_nanos(16), 100);
        in_flight.end(100, 200);
        let began = in_flight.begin(100);
        assert_eq!(in_flight.slow(1000), 1);
        in_flight.end(99, 1000);
        in_flight.end(100, 1000);
        assert_eq!(in_flight.slow(1000), 1);
        in_flight.end(began, 1000);
        assert_eq!(in_flight.slow(1000), 0);
    }

    #[test]
    fn a_clock_that_seems_to_go_back() {
        let mut in_flight = SlowInFlight::new(Duration::from_nanos(160), 0);
        let first = in_flight.begin(1000);
        let second = in_flight.begin(10);
        // It counts in the current bucket.
        assert_eq!((first, second), (1000, 1000));
        in_flight.end(second, 10);
        assert_eq!(in_flight.slow(2000), 1);
        in_flight.end(first, 2000);
        assert_eq!(in_flight.slow(2000), 0);
    }

    #[test]
    fn what_is_never_slow() {
        let mut in_flight = SlowInFlight::new(Duration::MAX, 0);
        in_flight.begin(5);
        assert_eq!(in_flight.slow(u64::MAX), 0);
    }
}
