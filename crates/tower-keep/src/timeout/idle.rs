//! When an idle limit expires. No clock, no job: what happened comes in as arguments.

use std::time::Duration;

use tokio::time::Instant;

/// What the timer of an idle limit does when it goes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing happened for as long as the limit.
    Now,
    /// Look again then. The timer goes off twice in a limit's time at most, however often there is progress.
    At(Instant),
    /// Not before the end of time.
    Never,
}

/// Of a call that began at `began`, whose job was last active at `active`, or waits for its next attempt.
pub(super) fn due(limit: Duration, began: Instant, active: Option<Instant>, now: Instant) -> Due {
    let since = match active {
        Some(active) => active.max(began),
        // The wait does not count, and at best it ends now. A limit of no time has nothing to wait for.
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

    /// The first moment at which nothing has happened for `limit`, found by looking at every one.
    fn naive(limit: u64, reports: &[u64], end: u64) -> Option<u64> {
        (0..=end).find(|now| {
            let last = reports.iter().filter(|at| *at <= now).max();
            now - last.unwrap_or(&0) >= limit
        })
    }

    /// As the future does it: a timer that is set again only when it goes off.
    fn timed(limit: u64, reports: &[u64], end: u64) -> (Option<u64>, u64) {
        let born = Instant::now();
        let at = |ms| born + Duration::from_millis(ms);
        let (mut timer, mut looks) = (at(limit), 0);
        while timer <= at(end) {
            looks += 1;
            let last = reports.iter().map(|ms| at(*ms)).filter(|at| *at <= timer);
            let last = last.max().unwrap_or(born);
            match due(Duration::from_millis(limit), born, Some(last), timer) {
                Due::Now => {
                    let expired = (timer - born).as_millis();
                    return (Some(u64::try_from(expired).unwrap()), looks);
                }
                Due::At(next) => timer = next,
                Due::Never => break,
            }
        }
        (None, looks)
    }

    proptest! {
        #[test]
        fn it_expires_when_nothing_happened_for_the_limit(
            limit in 1..20u64,
            reports in prop::collection::vec(0..100u64, 0..40),
        ) {
            let (expired, looks) = timed(limit, &reports, 200);
            prop_assert_eq!(expired, naive(limit, &reports, 200));
            prop_assert!(looks <= 2 * (expired.unwrap_or(200) / limit) + 1, "{} looks", looks);
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
