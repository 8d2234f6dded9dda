//! Tests of the windows against a plain list of calls.

use std::{collections::VecDeque, num::NonZeroU32};

use proptest::prelude::*;

use super::*;

fn sample() -> impl Strategy<Value = Sample> {
    (any::<bool>(), any::<bool>()).prop_map(|(failed, slow)| Sample { failed, slow })
}

fn counts<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Counts {
    let mut counts = Counts::default();
    samples.into_iter().for_each(|sample| counts.add(*sample));
    counts
}

fn of_calls(size: u32) -> Window {
    Window::calls(NonZeroU32::new(size).unwrap())
}

fn of_time(nanos: u64) -> Window {
    Window::time(Duration::from_nanos(nanos)).unwrap()
}

#[derive(Clone, Debug)]
enum Change {
    Push(Sample),
    Resize(u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        20 => sample().prop_map(Change::Push),
        1 => (1..100_u32).prop_map(Change::Resize),
    ]
}

proptest! {
    /// A count window holds exactly the last `size` calls, and keeps what fits after a resize.
    #[test]
    fn of_calls_equals_the_model(
        size in 1..100_u32,
        changes in proptest::collection::vec(change(), 0..500),
    ) {
        let mut window = Outcomes::new(of_calls(size));
        let mut model = VecDeque::new();
        let mut size = size as usize;
        for change in changes {
            match change {
                Change::Push(sample) => {
                    window.push(sample, Duration::ZERO);
                    model.push_back(sample);
                }
                Change::Resize(to) => {
                    window.resize(of_calls(to), Duration::ZERO);
                    size = to as usize;
                }
            }
            while model.len() > size {
                model.pop_front();
            }
            prop_assert_eq!(window.counts(Duration::ZERO), counts(&model));
        }
    }

    /// A time window holds the calls of the current bucket and the nineteen before it.
    #[test]
    fn of_time_equals_the_model(
        length in 1..2000_u64,
        calls in proptest::collection::vec((sample(), prop_oneof![4 => 0..50_u64, 1 => 0..9000_u64]), 0..300),
    ) {
        let mut window = Outcomes::new(of_time(length));
        let width = (length / BUCKETS as u64).max(1);
        let mut model: Vec<(u64, Sample)> = Vec::new();
        let mut now = 0;
        for (sample, pause) in calls {
            now += pause;
            let oldest = (now / width).saturating_sub(BUCKETS as u64 - 1) * width;
            let live = counts(model.iter().filter(|(at, _)| *at >= oldest).map(|(_, sample)| sample));
            prop_assert_eq!(window.counts(Duration::from_nanos(now)), live);
            // No call older than the window counts.
            prop_assert!(oldest + length.max(BUCKETS as u64) >= now);
            window.push(sample, Duration::from_nanos(now));
            model.push((now, sample));
        }
    }

    /// A change of the window's kind keeps the number of each outcome, as far as there is room.
    #[test]
    fn a_window_of_another_kind_keeps_the_counts(
        samples in proptest::collection::vec(sample(), 0..50),
        size in 50..60_u32,
    ) {
        let now = Duration::from_secs(100);
        let mut window = Outcomes::new(of_calls(size));
        samples.iter().for_each(|sample| window.push(*sample, now));
        let before = window.counts(now);
        window.resize(of_time(1_000_000_000), now);
        prop_assert_eq!(window.counts(now), before);
        window.resize(of_calls(size), now);
        prop_assert_eq!(window.counts(now), before);
    }
}

#[test]
fn a_clock_that_seems_to_go_back_forgets_nothing() {
    let mut window = Outcomes::new(of_time(20));
    let failure = Sample {
        failed: true,
        slow: false,
    };
    window.push(failure, Duration::from_nanos(10));
    window.push(failure, Duration::from_nanos(5));
    assert_eq!(window.counts(Duration::from_nanos(3)).failures, 2);
    assert_eq!(window.counts(Duration::from_nanos(29)).failures, 2);
    assert_eq!(window.counts(Duration::from_nanos(30)).failures, 0);
}

#[test]
fn the_end_of_time_is_survived() {
    for length in [1, u64::MAX] {
        let mut window = Outcomes::new(of_time(length));
        window.push(Sample::default(), Duration::ZERO);
        window.push(Sample::default(), Duration::MAX);
        assert_eq!(window.counts(Duration::MAX).calls, 1);
        window.resize(of_calls(3), Duration::MAX);
        assert_eq!(window.counts(Duration::MAX).calls, 1);
    }
    let mut window = Outcomes::new(Window::time(Duration::MAX).unwrap());
    window.push(Sample::default(), Duration::ZERO);
    assert_eq!(window.counts(Duration::from_secs(1 << 60)).calls, 1);
}

#[test]
fn resizing_to_fewer_calls_keeps_the_latest() {
    let mut window = Outcomes::new(of_time(1000));
    for at in 0..100 {
        let failed = at >= 90;
        let sample = Sample {
            failed,
            slow: false,
        };
        window.push(sample, Duration::from_nanos(at * 9));
    }
    window.resize(of_calls(10), Duration::from_nanos(900));
    let counts = window.counts(Duration::from_nanos(900));
    assert_eq!((counts.calls, counts.failures), (10, 10));
}

#[test]
fn resizing_a_time_window_keeps_the_age() {
    let second = Duration::from_secs(1);
    let failure = Sample {
        failed: true,
        slow: false,
    };
    let mut window = Outcomes::new(Window::time(20 * second).unwrap());
    window.push(failure, 11 * second);
    window.resize(Window::time(40 * second).unwrap(), 15 * second);
    assert_eq!(
        window
            .counts(50 * second - Duration::from_nanos(1))
            .failures,
        1
    );
    assert_eq!(window.counts(50 * second).failures, 0);
}
