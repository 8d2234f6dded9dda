//! `Throttle`: when the progress of a body is reported. Pure.

use std::{mem, time::Duration};

use tokio::time::Instant;

/// The most frames between two looks at the clock.
const MOST_SKIPPED: u64 = 15;

/// Keeps an interval between reports. Reading the clock costs more than all else that a frame
/// costs, so it is read only for a frame that may be due: at the pace since the last report, half of
/// the frames that can still come before the next report are skipped. A reader with a steady pace
/// gets its reports on time. If it becomes slow all at once, one report is late by a few frames.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// `None`: nothing was reported.
    next: Option<Instant>,
    /// The number of frames since the last report.
    frames: u32,
    /// The number of frames until the clock is read again.
    skipped: u8,
    /// The body waited for the last frame.
    waited: bool,
}

impl Throttle {
    /// A frame was read. Returns whether a report may be due: [`is_due`](Self::is_due) knows.
    #[inline]
    pub(super) fn may_be_due(&mut self) -> bool {
        self.frames = self.frames.saturating_add(1);
        match self.skipped.checked_sub(1) {
            Some(left) => {
                self.skipped = left;
                false
            }
            None => true,
        }
    }

    /// The body waits, for whatever time: the pace so far says nothing of the next frame.
    #[inline]
    pub(super) fn wait(&mut self) {
        self.skipped = 0;
        self.waited = true;
    }

    /// Whether a report is due. It then counts as made.
    pub(super) fn is_due(&mut self, now: Instant, interval: Duration) -> bool {
        let left = (self.next).map_or(Duration::ZERO, |next| next.saturating_duration_since(now));
        if left.is_zero() {
            *self = Self {
                next: now.checked_add(interval),
                ..Self::default()
            };
            return true;
        }
        // Such frames tell no pace, and the next one may wait, too.
        if mem::take(&mut self.waited) {
            return false;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let passed = interval.saturating_sub(left);
        let expected = u64::from(self.frames)
            .saturating_mul(nanos(left))
            .checked_div(nanos(passed));
        let skipped = (expected.unwrap_or(u64::MAX) / 2).min(MOST_SKIPPED);
        self.skipped = skipped as u8;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    /// The times of the reports, in microseconds, and how often the clock was read.
    fn reports(gaps: impl IntoIterator<Item = u64>) -> (Vec<u64>, usize) {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        assert!(throttle.is_due(start, INTERVAL), "the first is due at once");
        let (mut at, mut reports, mut looks) = (0, Vec::new(), 0);
        for gap in gaps {
            at += gap;
            if throttle.may_be_due() {
                looks += 1;
                if throttle.is_due(start + Duration::from_micros(at), INTERVAL) {
                    reports.push(at);
                }
            }
        }
        (reports, looks)
    }

    /// Whether each report follows the one before by the interval, and at most by one frame more.
    #[test]
    fn a_steady_reader_gets_its_reports_on_time() {
        for gap in [1, 7, 100, 3_000, 9_000, 30_000, 99_000, 100_000, 1_000_000] {
            let frames = 100 * 100_000_u64.div_ceil(gap);
            let (reports, _) = reports((0..frames).map(|_| gap));
            let each = 100_000_u64.div_ceil(gap) * gap;
            let expected: Vec<_> = (1..=100).map(|report| report * each).collect();
            assert_eq!(reports, expected, "{gap} us");
        }
    }

    #[test]
    fn fast_frames_rarely_look_at_the_clock() {
        let (reports, looks) = reports((0..100_000).map(|_| 10));
        assert_eq!(reports.len(), 10);
        assert!(looks < 100_000 / 14, "{looks}");
    }

    /// One report is late by the frames that were skipped. From then on, each slow frame is
    /// reported.
    #[test]
    fn a_reader_that_becomes_slow() {
        let slow = 1_000_000;
        let gaps = (0..1_000).map(|_| 1).chain((0..50).map(|_| slow));
        let (reports, _) = reports(gaps);
        let first = reports[0];
        assert!(first <= 1_000 + (MOST_SKIPPED + 1) * slow, "{first}");
        assert!(reports.windows(2).all(|two| two[1] - two[0] == slow));
        assert_eq!(reports.last(), Some(&(1_000 + 50 * slow)));
    }

    #[test]
    fn a_wait_makes_it_look() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.is_due(start, INTERVAL);
        assert!(throttle.may_be_due());
        assert!(!throttle.is_due(start, INTERVAL));
        assert!(!throttle.may_be_due());
        throttle.wait();
        assert!(throttle.may_be_due());
        assert!(throttle.is_due(start + INTERVAL, INTERVAL));
    }

    /// No sum or product overflows.
    #[test]
    fn the_longest_interval() {
        let start = Instant::now();
        for interval in [Duration::ZERO, Duration::MAX] {
            let mut throttle = Throttle {
                next: Some(start + Duration::from_secs(u64::from(u32::MAX))),
                frames: u32::MAX,
                skipped: 0,
                waited: false,
            };
            assert!(throttle.may_be_due());
            assert!(!throttle.is_due(start, interval));
        }
    }
}
