//! [`wall_time`]: the time of day of an instant of tokio's clock.

// Only the monotonic clock measures time. The system clock is read once, as the starting point.
#![allow(clippy::disallowed_types, reason = "it is for showing only")]

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// One moment on both clocks.
#[derive(Clone, Copy)]
struct Anchor {
    instant: Instant,
    time: SystemTime,
}

impl Anchor {
    fn of_process() -> &'static Self {
        static OF_PROCESS: OnceLock<Anchor> = OnceLock::new();
        OF_PROCESS.get_or_init(|| Self {
            // Not the paused clock of the first runtime: each paused clock begins at the real
            // clock's now.
            instant: Instant::from_std(std::time::Instant::now()),
            time: SystemTime::now(),
        })
    }

    fn time(&self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.instant) {
            Some(after) => as_far(self.time, after, |time, by| time.checked_add(by)),
            None => {
                let before = self.instant.saturating_duration_since(at);
                as_far(self.time, before, |time, by| time.checked_sub(by))
            }
        }
    }

    #[allow(dead_code, reason = "only what was serialised comes back")]
    fn instant(&self, time: SystemTime) -> Instant {
        match time.duration_since(self.time) {
            Ok(after) => as_far(self.instant, after, |at, by| at.checked_add(by)),
            Err(before) => as_far(self.instant, before.duration(), |at, by| at.checked_sub(by)),
        }
    }
}

/// Moves `from` by `far`, or as far as the clock can represent. The clocks do not expose their
/// range, so this searches.
pub(crate) fn as_far<T: Copy>(from: T, far: Duration, go: impl Fn(T, Duration) -> Option<T>) -> T {
    let (mut at, mut left, mut by) = (from, far, far);
    while !by.is_zero() {
        match go(at, by) {
            Some(there) => {
                at = there;
                left -= by;
                by = by.min(left);
            }
            None => by /= 2,
        }
    }
    at
}

/// The time of day of an instant of tokio's clock, for users and other programs.
///
/// A process reads its system clock once and counts on from there. So wall times have the same
/// order and distances as their instants, on a paused clock too. Later changes of the system clock,
/// and sleep of the computer, have no effect. `SystemTime::now() - at.elapsed()` follows the system
/// clock instead.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_keep::event::wall_time;
///
/// let now = Instant::now();
/// let later = wall_time(now + Duration::from_secs(60));
/// assert_eq!(later.duration_since(wall_time(now)).unwrap(), Duration::from_secs(60));
/// ```
#[must_use]
pub fn wall_time(at: Instant) -> SystemTime {
    Anchor::of_process().time(at)
}

/// The instant with this time of day, or the nearest that the clock has.
#[allow(dead_code, reason = "only what was serialised comes back")]
pub(crate) fn instant_of(time: SystemTime) -> Instant {
    Anchor::of_process().instant(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor() -> Anchor {
        *Anchor::of_process()
    }

    /// A moment before the anchor and one after it convert to a time and back.
    #[test]
    fn there_and_back() {
        let anchor = anchor();
        for secs in [0, 1, 3600, 100_000_000] {
            let by = Duration::from_secs(secs);
            let later = anchor.instant + by;
            assert_eq!(anchor.time(later), anchor.time + by);
            assert_eq!(anchor.instant(anchor.time + by), later);
            if let Some(earlier) = anchor.instant.checked_sub(by) {
                assert_eq!(anchor.time(earlier), anchor.time - by);
                assert_eq!(anchor.instant(anchor.time - by), earlier);
            }
        }
    }

    /// No wrong system clock causes a panic.
    #[test]
    fn a_clock_that_is_wrong() {
        let now = anchor().instant;
        let day = Duration::from_secs(86_400);
        for time in [
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH - day,
            as_far(SystemTime::UNIX_EPOCH, Duration::MAX, |time, by| {
                time.checked_add(by)
            }),
            as_far(SystemTime::UNIX_EPOCH, Duration::MAX, |time, by| {
                time.checked_sub(by)
            }),
        ] {
            let wrong = Anchor { instant: now, time };
            for at in [now, now + day, now.checked_sub(day).unwrap_or(now)] {
                let shown = wrong.time(at);
                let back = wrong.instant(shown);
                assert!(back.max(at) - back.min(at) <= day);
            }
            // The system clock may have been changed meanwhile.
            assert!(anchor().instant(time) <= now || time > anchor().time);
        }
    }

    /// Beyond the clock's range, the result is the end of the range.
    #[test]
    fn as_far_as_the_clock_goes() {
        let go = |at: u8, by: Duration| at.checked_add(u8::try_from(by.as_nanos()).ok()?);
        for far in [0, 1, 55, 56, 200, 1_000_000] {
            let reached = as_far(200, Duration::from_nanos(far), go);
            assert_eq!(u64::from(reached), (200 + far).min(255), "{far}");
        }
        let end = anchor().instant(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60));
        assert!(end > anchor().instant);
    }
}
