//! The expiry of an idle limit. Pure: no clock, no job.

use std::time::Duration;

use tokio::time::Instant;

/// The action when the timer of an idle limit fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The limit has expired.
    Now,
    /// Check again at this time. The timer fires at most twice per limit, however often there is
    /// progress.
    At(Instant),
    /// The limit never expires.
    Never,
}

/// Computes the action. `active` is the last activity of the job; `None` while the job waits for
/// its next attempt.
pub(super) fn due(limit: Duration, began: Instant, active: Option<Instant>, now: Instant) -> Due {
    let since = match active {
        Some(active) => active.max(began),
        // The wait does not count: idle time starts now at the earliest. A zero limit expires at
        // once.
        None if limit.is_zero() => return Due::Now,
        None => now,
    };
    match since.checked_add(limit) {
        Some(at) if at <= now => Due::Now,
        Some(at) => Due::At(at),
        None => Due::Never,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first moment with no report for `limit`, by brute force.
    fn naive(limit: u64, reports: &[u64], end: u64) -> Option<u64> {
        (0..=end).find(|now| {
            let last = reports.iter().filter(|at| *at <= now).max();
            now - last.unwrap_or(&0) >= limit
        })
    }

    /// Like the future: a timer that is reset only when it fires.
    fn timed(limit: u64, reports: &[u64], end: u64) -> (Option<u64>, u64) {
        let born = Instant::now();
        let at = |ms| born + Duration::from_millis(ms);
        let (mut timer, mut checks) = (at(limit), 0);
        while timer <= at(end) {
            checks += 1;
            let last = reports.iter().map(|ms| at(*ms)).filter(|at| *at <= timer);
            let last = last.max().unwrap_or(born);
            match due(Duration::from_millis(limit), born, Some(last), timer) {
                Due::Now => {
                    let expired = (timer - born).as_millis();
                    return (Some(u64::try_from(expired).unwrap()), checks);
                }
                Due::At(next) => timer = next,
                Due::Never => break,
            }
        }
        (None, checks)
    }

    proptest! {
        #[test]
        fn it_expires_when_nothing_happened_for_the_limit(
            limit in 1..20u64,
            reports in prop::collection::vec(0..100u64, 0..40),
        ) {
            let (expired, checks) = timed(limit, &reports, 200);
            prop_assert_eq!(expired, naive(limit, &reports, 200));
            prop_assert!(checks <= 2 * (expired.unwrap_or(200) / limit) + 1, "{} checks", checks);
        }
    }

    #[test]
    fn a_wait_for_the_next_attempt_does_not_count() {
        let born = Instant::now();
        let limit = Duration::from_secs(5);
        let now = born + Duration::from_secs(60);
        assert_eq!(due(limit, born, None, now), Due::At(now + limit));
        assert_eq!(due(Duration::ZERO, born, None, now), Due::Now);
    }

    #[test]
    fn what_was_before_the_call_does_not_count() {
        let before = Instant::now();
        let began = before + Duration::from_secs(60);
        let limit = Duration::from_secs(5);
        assert_eq!(
            due(limit, began, Some(before), began),
            Due::At(began + limit)
        );
        assert_eq!(due(Duration::MAX, began, Some(before), began), Due::Never);
    }
}
