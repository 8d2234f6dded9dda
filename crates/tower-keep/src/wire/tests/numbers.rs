//! The form of arbitrary numbers and texts.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{super::number, events::event, id, ms};
use crate::event::{CancelReason, Event, EventKind, JobId, Report};

/// Any number is either read as a time or duration, and written as it was read, or rejected.
#[test]
fn numbers_that_are_read() {
    let with = |at: Value, elapsed: Value| {
        let mut written = serde_json::to_value(event(EventKind::Started).0).unwrap();
        written["at"] = at;
        written["elapsed_ms"] = elapsed;
        serde_json::from_value::<Event>(written)
    };
    let times = [-8.64e15, -1e15, -1.0, 0.0, 1e-9, 1.764e12, 1e15, 8.64e15];
    let read = times.map(|at| with(json!(at), json!(0)).unwrap().at);
    assert!(read.is_sorted());
    assert!(read.iter().all(|at| number::unix_ms(*at).is_finite()));
    assert_eq!(number::unix_ms(read[5]), times[5]);
    let text = with(json!("2026-01-01"), json!(0)).unwrap_err();
    assert!(text.to_string().contains("f64"), "{text}");
    for none in [f64::MIN, -1e30, -8.65e15, 8.65e15, 1e30, f64::MAX] {
        with(json!(none), json!(0)).expect_err(&none.to_string());
    }
    for elapsed in [-1.0, -1e-9, 1.85e22, 1e300] {
        with(json!(0), json!(elapsed)).expect_err(&elapsed.to_string());
    }
    for elapsed in [json!("1"), json!(null)] {
        with(json!(0), elapsed.clone()).expect_err(&elapsed.to_string());
    }
    // JSON has no such numbers, but other formats have.
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(number::of_unix_ms(none), None);
        assert_eq!(number::of_millis(none), None);
    }
    for (elapsed, expected) in [
        (json!(1), ms(1)),
        (json!(1.5), Duration::from_micros(1500)),
        (json!(number::millis(Duration::MAX)), Duration::MAX),
        (json!(0), Duration::ZERO),
    ] {
        assert_eq!(with(json!(0), elapsed).unwrap().elapsed, expected);
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A duration of less than a month survives writing and reading. Any other is written as it
        /// was read.
        #[test]
        fn durations(nanos in 0..1_u64 << 51, any in any::<u64>()) {
            let there = |duration| number::of_millis(number::millis(duration)).unwrap();
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(there(duration), duration);
            let duration = Duration::from_secs(any);
            prop_assert_eq!(number::millis(there(duration)), number::millis(duration));
        }

        /// An instant survives to within a microsecond, and is written as it was read.
        #[test]
        fn moments(nanos in 0..1_u64 << 60) {
            let now = Instant::now();
            let earlier = now.checked_sub(Duration::from_nanos(nanos));
            for at in [Some(now + Duration::from_nanos(nanos)), earlier].into_iter().flatten() {
                let read = number::of_unix_ms(number::unix_ms(at)).unwrap();
                prop_assert!(read.max(at) - read.min(at) < Duration::from_micros(1));
                prop_assert_eq!(number::unix_ms(read), number::unix_ms(at));
            }
        }

        /// Any text and any number survives writing and reading.
        #[test]
        fn texts(
            text: String,
            fraction: f64,
            numbers: (u32, u32, u64),
            total: Option<u64>,
        ) {
            // JSON numbers are read to the last digit only on request.
            let there = |report: &Report| -> Report {
                serde_json::from_value(serde_json::to_value(report).unwrap()).unwrap()
            };
            let report = Report::new(fraction).message(text.as_str());
            prop_assert_eq!(there(&report), report);
            let report = Report::step(numbers.0, numbers.1);
            prop_assert_eq!(there(&report), report);
            let report = Report::bytes(numbers.2, total).message("so far");
            prop_assert_eq!(there(&report), report);
            let reason = CancelReason::from(text);
            let written = serde_json::to_string(&reason).unwrap();
            prop_assert_eq!(serde_json::from_str::<CancelReason>(&written).unwrap(), reason);
            let id = id(numbers.2.max(1));
            let written = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<JobId>(&written).unwrap(), id);
        }
    }
}
