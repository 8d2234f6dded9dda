//! The time of day of a moment on tokio's clock.

// The monotonic clock alone decides how much time passes: the system clock is read once, to know where it began.
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
            // Not the paused clock of the runtime that happens to come first: each paused clock begins at this one's now.
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

/// This far, or as far as the clock goes: how far that is the clocks do not say.
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

/// The time of day of a moment on tokio's clock, for showing it to people and other programs.
///
/// A process reads its system clock once, and counts on from there. So two times of one process are as far apart as the
/// moments are, and in their order, on a paused clock too. Where the system clock is set later, or the computer
/// sleeps, the times go on as if nothing had happened. `SystemTime::now() - at.elapsed()` follows the system clock instead.
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

/// The moment that has this time of day, or the nearest that the clock has.
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

    /// A moment before the anchor, and one after it, has its time, and the time its moment.
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

    /// A system clock that was wrong, at any time, is no reason to panic.
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
            // Set back or forward by any time meanwhile.
            assert!(anchor().instant(time) <= now || time > anchor().time);
        }
    }

    /// Where the clock ends, time stands still.
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
