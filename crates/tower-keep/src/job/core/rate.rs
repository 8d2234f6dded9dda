//! The rate at which a job's amount grows. Pure.
//!
//! # Formula
//!
//! The rate is a weighted mean of the past: a moment of age `a` has the weight `e^(-a / WINDOW)`.
//! Between two reports, in the time `d`, the amount grows by `n`. With `w = e^(-d / WINDOW)`:
//!
//! ```text
//! sum    = sum * w + (n / d) * (1 - w)
//! weight = weight * w + (1 - w)
//! rate   = sum / weight
//! ```
//!
//! The values start at zero with the first report. This is exponential smoothing for irregular
//! sample times (D. J. Wright, "Forecasting data published at irregular time intervals using an
//! extension of Holt's method", Management Science 32, 1986), for a level without a trend. Dividing
//! by the weight removes the bias of the initial zero.
//!
//! Growth within [`STEP`] is combined. So simultaneous reports have no infinite rate, and most
//! reports cost one comparison. The next growth is due after as much time as the last step took.
//! Later time counts as time without growth, and after [`STALLED`] more of it the rate is zero.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Report, Unit};

/// The time constant: the rate shows 63 % of a change of speed after one window, and 95 % after
/// three.
const WINDOW: Duration = Duration::from_secs(5);

/// The shortest time over which a rate is measured.
const STEP: Duration = Duration::from_millis(250);

const STALLED: Duration = Duration::from_secs(15);

/// The rate of an attempt's amount; empty before the first amount.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate(Option<Growth>);

#[derive(Clone, Copy, Debug)]
struct Growth {
    unit: Unit,
    done: u64,
    /// When it reached this amount.
    grew: Instant,
    /// The mean covers growth up to this amount and time.
    mean_done: u64,
    mean_at: Instant,
    mean: Mean,
    /// Duration of the last step.
    step: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds growth by `amount` over this time.
    fn add(&mut self, amount: u64, time: Duration) {
        let secs = time.as_secs_f64();
        if secs > 0.0 {
            let old = (-secs / WINDOW.as_secs_f64()).exp();
            self.sum = self.sum * old + amount as f64 / secs * (1.0 - old);
            self.weight = self.weight * old + (1.0 - old);
        }
    }
}

impl Growth {
    fn new(unit: Unit, done: u64, now: Instant) -> Self {
        Self {
            unit,
            done,
            grew: now,
            mean_done: done,
            mean_at: now,
            mean: Mean::default(),
            step: STEP,
        }
    }

    fn rate(&self, now: Instant) -> Option<f64> {
        let mut mean = self.mean;
        if mean.weight <= 0.0 {
            return None;
        }
        mean.add(self.done - self.mean_done, self.grew - self.mean_at);
        let silent = now.saturating_duration_since(self.grew);
        let overdue = silent.saturating_sub(self.step);
        if overdue >= STALLED {
            return Some(0.0);
        }
        mean.add(0, overdue);
        Some(mean.sum / mean.weight)
    }
}

impl Rate {
    /// Records a report. A smaller amount, or another unit, restarts the measurement.
    #[inline]
    pub(crate) fn note(&mut self, report: &Report, now: Instant) {
        let (Some(done), Some(unit)) = (report.done(), report.unit()) else {
            return;
        };
        match &mut self.0 {
            Some(known) if known.unit == unit && known.done <= done => {
                // A report without growth says no more than silence.
                if known.done == done {
                    return;
                }
                known.done = done;
                known.grew = known.grew.max(now);
                let step = known.grew - known.mean_at;
                if step >= STEP {
                    known.mean.add(done - known.mean_done, step);
                    (known.mean_done, known.mean_at, known.step) = (done, known.grew, step);
                }
            }
            _ => self.0 = Some(Growth::new(unit, done, now)),
        }
    }

    /// Amount per second; `None` before enough is known. Valid for the last recorded report.
    pub(crate) fn per_second(&self, now: Instant) -> Option<f64> {
        self.0.as_ref()?.rate(now)
    }
}

/// Time for the rest at this rate; `None` if nothing is left, or the rest never ends.
pub(crate) fn time_left(report: &Report, rate: f64) -> Option<Duration> {
    let left = report.total()?.saturating_sub(report.done()?);
    if left == 0 || rate <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(left as f64 / rate).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Reports byte amounts, each at its time in milliseconds after the beginning.
    fn after(reports: impl IntoIterator<Item = (u64, u64)>) -> (Rate, Instant) {
        let (mut rate, began) = (Rate::default(), Instant::now());
        for (at, done) in reports {
            rate.note(&Report::bytes(done, None), began + ms(at));
        }
        (rate, began)
    }

    #[track_caller]
    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a rate");
        let most = 1e-9 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= most, "{found}, not {expected}");
    }

    /// R78 A steady amount has exactly its rate, from the first step on and however often it is
    /// reported.
    #[test]
    fn a_steady_rate() {
        for every in [10, 100, 250, 1000, 30_000] {
            let (rate, began) = after((0..=20).map(|n| (n * every, n * every * 3)));
            let last = began + ms(20 * every);
            if 20 * every >= 250 {
                close(rate.per_second(last), 3000.0);
                // The rate holds until the next report is due.
                close(rate.per_second(last + ms(every.min(250))), 3000.0);
            } else {
                assert_eq!(rate.per_second(last), None);
            }
        }
    }

    /// R78 One window after a change of speed, the rate shows a share of 1 - 1/e of it.
    #[test]
    fn a_change_of_speed() {
        let slow = (0..=100).map(|n| (n * 1000, n * 100));
        let fast = (1..=5).map(|n| (100_000 + n * 1000, 10_000 + n * 200));
        let (rate, began) = after(slow.chain(fast));
        close(
            rate.per_second(began + ms(105_000)).map(f64::round),
            (200.0 - 100.0 * (-1.0_f64).exp()).round(),
        );
    }

    /// R78 Reports at one instant, or nearly one, make no rate by themselves.
    #[test]
    fn reports_of_one_instant() {
        let (rate, began) = after([(0, 0), (0, 1 << 40), (1, 1 << 50), (1, 1 << 60)]);
        assert_eq!(rate.per_second(began + ms(1)), None);
        let (rate, began) = after([(0, 0), (1000, 100), (1000, 200), (2000, 300), (2000, 400)]);
        let found = rate.per_second(began + ms(2000)).unwrap();
        assert!((100.0..=200.0).contains(&found), "{found}");
    }

    /// R78 The rate of a stuck job falls to zero, with or without further reports.
    #[test]
    fn a_stall() {
        let reports = (0..=10).map(|n| (n * 1000, n * 50));
        let heartbeats = (11..=60).map(|n| (n * 1000, 500));
        for (rate, began) in [after(reports.clone()), after(reports.chain(heartbeats))] {
            let at = |ms_later: u64| rate.per_second(began + ms(10_000 + ms_later)).unwrap();
            assert_eq!(at(1000).round(), 50.0);
            let (early, late) = (at(3000), at(8000));
            assert!(50.0 > early && early > late && late > 0.0);
            assert_eq!(at(16_000), 0.0);
            assert_eq!(time_left(&Report::bytes(500, Some(600)), at(16_000)), None);
        }
    }

    /// R78 A falling amount, or another unit, restarts the measurement.
    #[test]
    fn a_new_beginning() {
        let (mut rate, began) = after([(0, 0), (1000, 1000), (2000, 10)]);
        assert_eq!(rate.per_second(began + ms(2000)), None);
        rate.note(&Report::bytes(30, None), began + ms(3000));
        close(rate.per_second(began + ms(3000)), 20.0);
        rate.note(&Report::items(40, None), began + ms(4000));
        assert_eq!(rate.per_second(began + ms(4000)), None);
    }

    /// R78 The first report is the base of the amount, as for a resumed download.
    #[test]
    fn a_beginning_above_zero() {
        let (rate, began) = after([(0, 1 << 30), (1000, (1 << 30) + 100)]);
        close(rate.per_second(began + ms(1000)), 100.0);
    }

    #[test]
    fn the_time_left() {
        let left = |done, total, rate| time_left(&Report::items(done, total), rate);
        assert_eq!(left(40, Some(100), 30.0), Some(ms(2000)));
        assert_eq!(left(40, None, 30.0), None);
        assert_eq!(left(100, Some(100), 30.0), None);
        assert_eq!(left(101, Some(100), 30.0), None);
        assert_eq!(left(0, Some(u64::MAX), 1e-6), None);
        assert_eq!(left(0, Some(1), 0.0), None);
        assert_eq!(time_left(&Report::new(0.5), 1.0), None);
    }

    proptest! {
        /// R78 The rate lies between the slowest and the fastest growth, zero for a pause, and is
        /// finite.
        #[test]
        fn never_out_of_bounds(
            steps in prop::collection::vec((0..3000_u64, 0..=u64::MAX / 64), 1..50),
            later in 0..60_000_u64,
        ) {
            let (mut at, mut done) = (0, 0);
            let reports: Vec<_> = steps
                .iter()
                .map(|(time, amount)| {
                    at += time;
                    done += amount;
                    (at, done)
                })
                .collect();
            let (rate, began) = after(reports);
            if let Some(found) = rate.per_second(began + ms(at + later)) {
                // All growth within the shortest time, part of which may weigh slightly more than
                // its share.
                let most = done as f64 / STEP.as_secs_f64();
                prop_assert!((0.0..=most * 1.05).contains(&found), "{} of {}", found, most);
            }
        }
    }
}
