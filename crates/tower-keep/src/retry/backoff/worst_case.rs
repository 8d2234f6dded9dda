//! The worst case of a backoff: the longest possible sum of all waits.
//!
//! `Pipeline` checks its limits against it. Pure.

use std::time::Duration;

use super::{Backoff, Jitter, StrategyKind, from_nanos};

impl Backoff {
    /// The longest possible wait `n`, if `previous` was the longest possible previous wait.
    fn longest(&self, n: u32, previous: Option<Duration>) -> Duration {
        match self.jitter {
            Jitter::Decorrelated => {
                let previous = previous.unwrap_or(self.base);
                previous.saturating_mul(3).max(self.base).min(self.cap())
            }
            _ => self.nominal(n, previous),
        }
    }

    /// The longest possible sum of the first `count` waits, saturating.
    ///
    /// A custom strategy counts with its waits without jitter, and from the 129th wait with the
    /// cap.
    pub(in crate::retry) fn total(&self, count: u32) -> Duration {
        let is_decorrelated = self.jitter == Jitter::Decorrelated;
        match &self.strategy {
            StrategyKind::Constant if !is_decorrelated => {
                self.nominal(0, None).saturating_mul(count)
            }
            StrategyKind::Linear if !is_decorrelated => self.linear_total(count),
            _ => self.summed(count),
        }
    }

    fn summed(&self, count: u32) -> Duration {
        // More than a `Duration` has bits: every built-in strategy reaches its cap earlier.
        const FEW: u32 = 128;
        let custom = matches!(self.strategy, StrategyKind::Custom(_));
        let (mut total, mut previous) = (Duration::ZERO, None);
        for n in 0..count {
            let delay = if n < FEW {
                self.longest(n, previous)
            } else {
                self.cap()
            };
            let settled = n >= FEW || (!custom && (delay == self.cap() || delay.is_zero()));
            if settled {
                // All remaining waits are equal.
                return total.saturating_add(delay.saturating_mul(count - n));
            }
            total = total.saturating_add(delay);
            previous = Some(delay);
        }
        total
    }

    fn linear_total(&self, count: u32) -> Duration {
        let base = self.base.as_nanos();
        // The number of waits shorter than the cap.
        let short = match self.cap().as_nanos().checked_div(base) {
            Some(short) => u32::try_from(short).unwrap_or(u32::MAX).min(count),
            None => return Duration::ZERO,
        };
        let sum = u128::from(short) * (u128::from(short) + 1) / 2;
        from_nanos(base.saturating_mul(sum))
            .saturating_add(self.cap().saturating_mul(count - short))
    }

    /// The largest number of waits, at most `count`, whose longest possible sum is below `limit`.
    #[cfg(feature = "pipeline")]
    pub(in crate::retry) fn fitting(&self, count: u32, limit: Duration) -> u32 {
        // The sum grows with the count, so a bisection finds the largest count.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::retry::backoff::{JitterState, tests::duration};

    fn backoff() -> impl Strategy<Value = Backoff> {
        let strategy = prop_oneof![
            Just(Backoff::default()),
            Just(Backoff::constant(Duration::ZERO)),
            Just(Backoff::linear(Duration::ZERO)),
            Just(Backoff::exponential(Duration::ZERO).jitter(Jitter::Decorrelated)),
            Just(Backoff::custom(|n: u32| Duration::from_millis(u64::from(
                n ^ 5
            )))),
        ];
        (strategy, duration(), duration())
            .prop_map(|(backoff, base, max)| backoff.base_delay(base).max_delay(max.max(base)))
    }

    /// Adds the waits one by one.
    fn model(backoff: &Backoff, count: u32) -> Duration {
        let (mut sum, mut previous) = (Duration::ZERO, None);
        for n in 0..count {
            let delay = if backoff.jitter == Jitter::Decorrelated {
                let most = previous.unwrap_or(backoff.base).saturating_mul(3);
                most.max(backoff.base).min(backoff.cap())
            } else {
                backoff.nominal(n, previous)
            };
            sum = sum.saturating_add(delay);
            previous = Some(delay);
        }
        sum
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum(backoff in backoff(), count in 0..128u32) {
            prop_assert_eq!(backoff.total(count), model(&backoff, count));
        }

        #[test]
        fn no_sum_is_more_than_the_total(
            backoff in backoff(),
            jitter in prop_oneof![
                Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal), Just(Jitter::Decorrelated),
            ],
            count in 0..20u32,
            seed in any::<u64>(),
        ) {
            let backoff = backoff.jitter(jitter);
            let mut state = JitterState::new(fastrand::Rng::with_seed(seed));
            let sum = (0..count)
                .fold(Duration::ZERO, |sum, n| sum.saturating_add(backoff.next(n, &mut state)));
            prop_assert!(sum <= backoff.total(count));
        }

        #[cfg(feature = "pipeline")]
        #[test]
        fn the_last_that_fits(
            backoff in backoff(),
            base in (0..5000u64).prop_map(Duration::from_millis),
            max in (0..30_000u64).prop_map(Duration::from_millis),
            count in 0..70u32,
            limit in (1..200_000u64).prop_map(Duration::from_millis),
        ) {
            let backoff = backoff.max_delay(Duration::MAX).base_delay(base).max_delay(max.max(base));
            let fits = (0..=count).rev().find(|n| backoff.total(*n) < limit);
            prop_assert_eq!(Some(backoff.fitting(count, limit)), fits);
        }
    }

    #[test]
    fn a_total_of_very_many_is_found_at_once() {
        let nano = Duration::from_nanos(1);
        for backoff in [
            Backoff::exponential(nano),
            Backoff::constant(nano),
            Backoff::linear(nano),
            Backoff::exponential(nano).jitter(Jitter::Decorrelated),
            Backoff::custom(|_| Duration::MAX),
        ] {
            for max in [nano, Duration::MAX] {
                let total = backoff.clone().max_delay(max).total(u32::MAX);
                assert!(total >= nano * u32::MAX, "{backoff:?}: {total:?}");
            }
        }
    }

    /// Decorrelated jitter replaces every strategy.
    #[test]
    fn a_walk_is_as_long_whatever_it_replaces() {
        let (second, max) = (Duration::from_secs(1), Duration::from_secs(100));
        let walk = Backoff::exponential(second)
            .jitter(Jitter::Decorrelated)
            .max_delay(max);
        for count in 0..8 {
            for other in [Backoff::constant(second), Backoff::linear(second)] {
                let other = other.max_delay(max).jitter(Jitter::Decorrelated);
                assert_eq!(other.total(count), walk.total(count));
            }
        }
        assert!(walk.total(2) > 2 * second);
    }

    /// A sum equal to the limit does not fit.
    #[cfg(feature = "pipeline")]
    #[test]
    fn the_limit_itself_is_too_much() {
        let backoff = Backoff::exponential(Duration::from_secs(1));
        for (limit, fits) in [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3)] {
            assert_eq!(backoff.fitting(10, Duration::from_secs(limit)), fits);
        }
    }
}
