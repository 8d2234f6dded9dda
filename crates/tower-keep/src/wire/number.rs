//! Conversion of times and durations to milliseconds and back.

#![allow(clippy::disallowed_types, reason = "it is for other programs only")]

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::event::wall_time::{as_far, instant_of, wall_time};

/// Milliseconds since the beginning of 1970 with a fraction, as in JavaScript's `Date`.
pub(super) fn unix_ms(at: Instant) -> f64 {
    match wall_time(at).duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

/// The last time of JavaScript's `Date`. The first is the same distance before 1970.
const LAST_MS: f64 = 8.64e15;

/// The instant of this time, or the nearest that the clock has; `None` if it is not a time.
pub(super) fn of_unix_ms(ms: f64) -> Option<Instant> {
    let far = of_millis(ms.abs()).filter(|_| ms.abs() <= LAST_MS)?;
    let go = |time: SystemTime, by| match ms < 0.0 {
        true => time.checked_sub(by),
        false => time.checked_add(by),
    };
    Some(instant_of(as_far(SystemTime::UNIX_EPOCH, far, go)))
}

/// A duration in milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    let nanos = duration.as_nanos();
    match nanos < 1 << 53 {
        // One division, so the result is the nearest representable number.
        true => nanos as f64 / 1e6,
        // An `f64` cannot hold this number of nanoseconds exactly.
        false => (nanos / 1_000_000) as f64 + (nanos % 1_000_000) as f64 / 1e6,
    }
}

/// The duration of this number; `None` if it is not a duration.
pub(super) fn of_millis(ms: f64) -> Option<Duration> {
    if !(0.0..=millis(Duration::MAX)).contains(&ms) {
        return None;
    }
    // Separately, because the sum of nanoseconds may not be exact.
    let (whole, part) = (ms.trunc(), ms.fract());
    let nanos = (whole as u128).saturating_mul(1_000_000);
    let nanos = nanos.saturating_add((part * 1e6).round() as u128);
    let secs = u64::try_from(nanos / 1_000_000_000);
    // The rounded number of the longest duration is a little above it.
    Some(secs.map_or(Duration::MAX, |secs| {
        Duration::new(secs, (nanos % 1_000_000_000) as u32)
    }))
}
