//! How long to wait. Pure: no clock.

use std::time::Duration;

/// Exponential backoff with a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    pub(super) base: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    /// The wait before retry `n`, counted from 0: `min(base * 2^n, max)`, whatever `n`.
    pub(super) fn delay(&self, n: u32) -> Duration {
        let base = self.base.as_nanos();
        let delay = if base == 0 {
            0
        } else if n >= base.leading_zeros() {
            // 2^127 and more, while no `Duration` reaches 2^94 nanoseconds: past every cap.
            u128::MAX
        } else {
            base << n
        };
        if delay >= self.max.as_nanos() {
            self.max
        } else {
            from_nanos(delay)
        }
    }

    /// The sum of the first `count` waits, saturating.
    pub(super) fn total(&self, count: u32) -> Duration {
        let mut total = Duration::ZERO;
        for n in 0..count {
            let delay = self.delay(n);
            if delay == self.max || delay.is_zero() {
                // All the rest are as long.
                return total.saturating_add(delay.saturating_mul(count - n));
            }
            total = total.saturating_add(delay);
        }
        total
    }

    /// How many waits, at most `count`, sum up to less than `limit`.
    #[cfg(feature = "pipeline")]
    pub(super) fn fitting(&self, count: u32, limit: Duration) -> u32 {
        // The sum grows with the count, so that the last one that fits can be bisected.
        let (mut fits, mut fails) = (0, count.saturating_add(1));
        while fails - fits > 1 {
            let middle = fits + (fails - fits) / 2;
            if self.total(middle) < limit {
                fits = middle
            } else {
                fails = middle
            }
        }
        fits
    }
}

/// For fewer nanoseconds than `Duration::MAX` has.
fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    match (u64::try_from(nanos / SECOND), u32::try_from(nanos % SECOND)) {
        (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_the_cap() {
        let backoff = Backoff {
            base: SECOND,
            max: 30 * SECOND,
        };
        let delays: Vec<_> = (0..7).map(|n| backoff.delay(n).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
    }

    /// Doubles step by step, saturating.
    fn model(backoff: Backoff, n: u32) -> Duration {
        let mut delay = backoff.base;
        for _ in 0..n {
            if delay.is_zero() || delay >= backoff.max {
                break;
            }
            delay = delay.saturating_mul(2);
        }
        delay.min(backoff.max)
    }

    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            Just(Duration::from_nanos(1)),
            (0..u64::MAX, 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n)),
            (0..100_000u64).prop_map(Duration::from_millis),
        ]
    }

    proptest! {
        #[test]
        fn equals_the_model(
            base in duration(),
            max in duration(),
            n in prop_oneof![0..200u32, Just(u32::MAX), any::<u32>()],
        ) {
            let backoff = Backoff { base, max };
            prop_assert_eq!(backoff.delay(n), model(backoff, n));
        }

        #[test]
        fn the_total_is_the_sum(base in duration(), max in duration(), count in 0..70u32) {
            let backoff = Backoff { base, max };
            let sum = (0..count).fold(Duration::ZERO, |sum, n| sum.saturating_add(model(backoff, n)));
            prop_assert_eq!(backoff.total(count), sum);
        }

        #[cfg(feature = "pipeline")]
        #[test]
        fn the_last_that_fits(
            base in (0..5000u64).prop_map(Duration::from_millis),
            max in (0..30_000u64).prop_map(Duration::from_millis),
            count in 0..70u32,
            limit in (1..200_000u64).prop_map(Duration::from_millis),
        ) {
            let backoff = Backoff { base, max };
            let fits = (0..=count).rev().find(|n| backoff.total(*n) < limit);
            prop_assert_eq!(Some(backoff.fitting(count, limit)), fits);
        }
    }
}
