//! Tests of the waits: each strategy, the cap and the jitter.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn jitter_state(seed: u64) -> JitterState {
    JitterState::new(fastrand::Rng::with_seed(seed))
}

fn seconds(backoff: &Backoff, count: u32) -> Vec<u64> {
    let mut state = jitter_state(0);
    (0..count)
        .map(|n| backoff.next(n, &mut state).as_secs())
        .collect()
}

#[test]
fn strategies_grow_each_in_its_way_up_to_the_cap() {
    let capped = |backoff: Backoff| backoff.max_delay(10 * SECOND);
    let table = [
        (Backoff::exponential(SECOND), [1, 2, 4, 8, 10]),
        (Backoff::constant(3 * SECOND), [3, 3, 3, 3, 3]),
        (Backoff::linear(3 * SECOND), [3, 6, 9, 10, 10]),
        (
            Backoff::custom(|n: u32| SECOND * n.pow(2)),
            [0, 1, 4, 9, 10],
        ),
    ];
    for (backoff, delays) in table {
        assert_eq!(seconds(&capped(backoff.clone()), 5), delays, "{backoff:?}");
    }
    assert_eq!(seconds(&Backoff::default(), 7), [1, 2, 4, 8, 16, 30, 30]);
}

/// A custom strategy receives the base and the previous wait after the cap.
#[test]
fn a_strategy_of_ones_own_knows_what_came_before() {
    struct Sum;
    impl BackoffStrategy for Sum {
        fn delay(&self, retry: u32, base: Duration, previous: Option<Duration>) -> Duration {
            assert_eq!(previous.is_none(), retry == 0);
            base + previous.unwrap_or_default()
        }
    }
    let backoff = Backoff::custom(Sum)
        .base_delay(4 * SECOND)
        .max_delay(9 * SECOND);
    assert_eq!(seconds(&backoff, 4), [4, 8, 9, 9]);
}

#[test]
fn the_same_seed_gives_the_same_waits() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let backoff = Backoff::default().jitter(jitter);
        let waits = |seed| {
            let mut state = jitter_state(seed);
            (0..8)
                .map(|n| backoff.next(n, &mut state))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}

/// Each kind uses its whole range: a thousand draws fall into every tenth of it, and never outside.
#[test]
fn jitter_spreads_over_its_whole_range() {
    let table = [
        (Jitter::Full, Duration::ZERO, 4 * SECOND),
        (Jitter::Equal, 2 * SECOND, 4 * SECOND),
        (Jitter::Decorrelated, SECOND, 3 * SECOND),
    ];
    for (jitter, least, most) in table {
        let backoff = Backoff::exponential(SECOND).jitter(jitter);
        // The third exponential wait is 4 s; decorrelated jitter is tested at its first wait.
        let n = if jitter == Jitter::Decorrelated { 0 } else { 2 };
        let mut tenths = [0; 10];
        for seed in 0..1000 {
            let delay = backoff.next(n, &mut jitter_state(seed));
            assert!(least <= delay && delay <= most, "{jitter:?}: {delay:?}");
            let share = (delay - least).as_secs_f64() / (most - least).as_secs_f64();
            tenths[((share * 10.0) as usize).min(9)] += 1;
        }
        assert!(
            tenths.iter().all(|count| (60..=140).contains(count)),
            "{jitter:?}: {tenths:?}"
        );
    }
}

/// Each decorrelated wait lies between the base and three times the previous wait, and often grows.
#[test]
fn a_decorrelated_backoff_walks() {
    let backoff = Backoff::exponential(SECOND)
        .jitter(Jitter::Decorrelated)
        .max_delay(Duration::MAX);
    let mut grown = 0;
    for seed in 0..100 {
        let mut state = jitter_state(seed);
        let mut previous = SECOND;
        for n in 0..8 {
            let delay = backoff.next(n, &mut state);
            assert!(SECOND <= delay && delay <= previous * 3);
            grown += u32::from(delay > previous * 2);
            previous = delay;
        }
    }
    assert!(grown > 100, "only {grown} of 800 steps went up");
}

/// Doubles step by step, saturating.
fn model(base: Duration, max: Duration, n: u32) -> Duration {
    let mut delay = base;
    for _ in 0..n {
        if delay.is_zero() || delay >= max {
            break;
        }
        delay = delay.saturating_mul(2);
    }
    delay.min(max)
}

/// Durations, including edge cases.
pub(in crate::retry) fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_nanos(1)),
        (0..u64::MAX, 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n)),
        (0..100_000u64).prop_map(Duration::from_millis),
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..200u32, Just(u32::MAX), any::<u32>()]
}

/// R69 Without a cap of its own a backoff is capped at 30 s, or at its base if that is longer.
#[test]
fn the_default_cap_is_never_below_the_base() {
    let minute = Duration::from_secs(60);
    for backoff in [
        Backoff::exponential(minute),
        Backoff::constant(minute),
        Backoff::linear(minute),
    ] {
        assert_eq!(backoff.next(0, &mut jitter_state(0)), minute);
        assert_eq!(backoff.next(5, &mut jitter_state(0)), minute);
    }
    assert_eq!(
        Backoff::default().next(9, &mut jitter_state(0)),
        Duration::from_secs(30)
    );
    assert_eq!(
        Backoff::default()
            .base_delay(minute)
            .next(9, &mut jitter_state(0)),
        minute
    );
}

/// R69 A cap below the base is rejected by the second setter, in both orders. A cap below a default
/// base is valid.
#[test]
fn a_cap_below_the_base_is_rejected() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let rejected = |set: fn(Backoff) -> Backoff| {
        std::panic::catch_unwind(move || set(Backoff::default())).is_err()
    };
    assert!(rejected(|backoff| backoff
        .base_delay(Duration::from_secs(60))
        .max_delay(Duration::from_secs(1))));
    assert!(rejected(|backoff| backoff
        .max_delay(Duration::from_secs(1))
        .base_delay(Duration::from_secs(60))));
    assert!(rejected(
        |_| Backoff::constant(Duration::from_secs(2)).max_delay(Duration::from_secs(1))
    ));
    assert!(!rejected(
        |_| Backoff::constant(Duration::from_secs(2)).max_delay(Duration::from_secs(2))
    ));
    let short = Duration::from_millis(5);
    assert_eq!(
        Backoff::default()
            .max_delay(short)
            .next(0, &mut jitter_state(0)),
        short
    );
    let custom = Backoff::custom(|_| Duration::MAX).max_delay(short);
    assert_eq!(custom.next(0, &mut jitter_state(0)), short);
    assert_eq!(
        Backoff::default()
            .max_delay(minute)
            .base_delay(second)
            .next(6, &mut jitter_state(0)),
        minute
    );
}

proptest! {
    /// R68 A requested delay grows by at most 10 %, and never shrinks.
    #[test]
    fn a_requested_wait_is_only_lengthened(delay in duration(), seed in any::<u64>()) {
        let waits = jitter_state(seed).lengthen(delay);
        prop_assert!(delay <= waits && waits <= delay.saturating_add(delay / 10));
    }

    #[test]
    fn exponential_equals_the_model(base in duration(), max in duration(), n in number()) {
        let max = max.max(base);
        let backoff = Backoff::exponential(base).max_delay(max);
        prop_assert_eq!(backoff.next(n, &mut jitter_state(0)), model(base, max, n));
    }

    #[test]
    fn linear_equals_the_model(base in duration(), max in duration(), n in number()) {
        let max = max.max(base);
        let backoff = Backoff::linear(base).max_delay(max);
        let model = (0..n.min(300)).fold(base, |sum, _| sum.saturating_add(base));
        let delay = backoff.next(n, &mut jitter_state(0));
        if n <= 300 {
            prop_assert_eq!(delay, model.min(max));
        } else {
            prop_assert!(delay >= model.min(max) && delay <= max);
        }
    }

    /// R23, behaviour 21: the cap holds for every strategy, jitter, number and base.
    #[test]
    fn nothing_passes_the_cap(
        which in 0..5,
        jitter in prop_oneof![
            Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal), Just(Jitter::Decorrelated),
        ],
        base in duration(),
        max in duration(),
        numbers in proptest::collection::vec(number(), 1..6),
        seed in any::<u64>(),
    ) {
        let max = max.max(base);
        let backoff = match which {
            0 => Backoff::exponential(base),
            1 => Backoff::constant(base),
            2 => Backoff::linear(base),
            3 => Backoff::exponential(base).jitter(Jitter::Decorrelated),
            _ => Backoff::custom(|_| Duration::MAX).base_delay(base),
        };
        let backoff = backoff.max_delay(max).jitter(jitter);
        let nominal = backoff.clone().jitter(Jitter::None);
        let mut state = jitter_state(seed);
        for n in numbers {
            let delay = backoff.next(n, &mut state);
            prop_assert!(delay <= max);
            if jitter != Jitter::Decorrelated {
                prop_assert!(delay <= nominal.nominal(n, None));
            }
        }
    }
}
