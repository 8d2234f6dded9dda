//! Short constructors for durations: [`secs`], [`ms`].

use std::time::Duration;

/// A duration in seconds.
///
/// ```
/// assert_eq!(tower_keep_test::secs(2), tower_keep_test::ms(2_000));
/// ```
#[must_use]
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A duration in milliseconds, the resolution of tokio's timer.
#[must_use]
pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
