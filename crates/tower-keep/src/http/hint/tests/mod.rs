//! Tests of the hints: a table for each header, and properties of all of them.

mod encoder;
mod grpc;
mod properties;
mod retry_after;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::*;

const EPOCH_OF_RFC: u64 = 784_111_777;
const DATE_OF_RFC: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn headers<V: AsRef<[u8]>>(fields: &[(&str, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    headers
}

fn hint(headers: &HeaderMap) -> Option<Hint> {
    StandardHints.hint(StatusCode::SERVICE_UNAVAILABLE, headers)
}

/// The delay that the standard hint gives.
fn delay(headers: &HeaderMap) -> Option<Duration> {
    hint(headers)?.delay(headers)
}

#[test]
fn a_response_without_hints_says_nothing() {
    let none = headers::<&str>(&[]);
    assert_eq!(hint(&none), None);
    let others = headers(&[("date", DATE_OF_RFC), ("x-ratelimit-reset", "5")]);
    assert_eq!(hint(&others), None);
}

/// The pushback decides. Of the others, the longest counts.
#[test]
fn several_hints() {
    let info = encoder::padded(&encoder::status(&[(3, 500_000_000)]));
    let info = info.as_str();
    let (after, details) = ("retry-after", "grpc-status-details-bin");
    let pushback = "grpc-retry-pushback-ms";
    let wait = |ms| Some(Hint::Wait(Duration::from_millis(ms)));
    type Fields<'a> = [(&'a str, &'a str)];
    let table: [(&Fields<'_>, Option<Hint>); 7] = [
        (&[(after, "3"), (details, info)], wait(3500)),
        (&[(details, info), (after, "4")], wait(4000)),
        (&[(after, "nonsense"), (details, info)], wait(3500)),
        (&[(after, "4"), (details, "nonsense")], wait(4000)),
        (&[(after, "4"), (pushback, "20"), (details, info)], wait(20)),
        (&[(after, "4"), (pushback, "-1")], Some(Hint::Never)),
        (&[(after, "nonsense"), (details, "nonsense")], None),
    ];
    for (fields, expected) in table {
        assert_eq!(hint(&headers(fields)), expected, "{fields:?}");
    }
}

/// A time of the server's clock is measured against the server's clock.
#[test]
fn a_time_is_measured_against_the_date() {
    let table = [
        (EPOCH_OF_RFC + 90, secs(90)),
        (EPOCH_OF_RFC + 1, secs(1)),
        (EPOCH_OF_RFC, Duration::ZERO),
        (EPOCH_OF_RFC - 1, Duration::ZERO),
        (0, Duration::ZERO),
    ];
    for date in [
        DATE_OF_RFC,
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        for (at, expected) in table {
            let headers = headers(&[("date", date)]);
            assert_eq!(
                Hint::at_unix_seconds(at).delay(&headers),
                Some(expected),
                "{at}, {date}"
            );
        }
    }
}

/// Without a valid `Date`, our clock is the best guess.
#[tokio::test(start_paused = true)]
async fn without_a_date_our_clock_counts() {
    let in_a_minute = Hint::At(wall_time(Instant::now()) + secs(60));
    for fields in [&[][..], &[("date", "now")], &[("date", "784111777")]] {
        let headers = headers(fields);
        assert_eq!(in_a_minute.delay(&headers), Some(secs(60)));
    }
    tokio::time::advance(secs(45)).await;
    assert_eq!(in_a_minute.delay(&HeaderMap::new()), Some(secs(15)));
    tokio::time::advance(secs(45)).await;
    assert_eq!(in_a_minute.delay(&HeaderMap::new()), Some(Duration::ZERO));
}

/// No time panics: not the last one, and none before 1970.
#[test]
fn times_at_the_ends_of_the_clock() {
    let rfc = headers(&[("date", DATE_OF_RFC)]);
    let last = Hint::at_unix_seconds(u64::MAX);
    assert!(last.delay(&rfc) > Some(secs(1 << 37)));
    assert!(last.delay(&HeaderMap::new()) > Some(secs(1 << 37)));
    let Hint::At(at) = last else {
        panic!("{last:?} is no time")
    };
    assert_eq!(at.checked_add(secs(1)), None, "there is a later time");

    let first = Hint::At(as_far(UNIX_EPOCH, Duration::MAX, |at, by| {
        at.checked_sub(by)
    }));
    for hint in [first, Hint::At(UNIX_EPOCH - secs(1)), Hint::At(UNIX_EPOCH)] {
        assert_eq!(hint.delay(&rfc), Some(Duration::ZERO));
        assert_eq!(hint.delay(&HeaderMap::new()), Some(Duration::ZERO));
    }
}

#[test]
fn a_wait_needs_no_clock() {
    for headers in [HeaderMap::new(), headers(&[("date", DATE_OF_RFC)])] {
        assert_eq!(Hint::Wait(secs(7)).delay(&headers), Some(secs(7)));
        let longest = Hint::Wait(Duration::MAX);
        assert_eq!(longest.delay(&headers), Some(Duration::MAX));
        assert_eq!(Hint::Never.delay(&headers), None);
    }
}

/// A closure is a hint, and gets the status.
#[test]
fn a_closure_is_a_hint() {
    fn ask(hint: impl RetryHint, status: StatusCode) -> Option<Hint> {
        hint.hint(status, &HeaderMap::new())
    }
    let conflict = |status: StatusCode, _: &HeaderMap| {
        (status == StatusCode::CONFLICT).then_some(Hint::Wait(secs(1)))
    };
    assert_eq!(
        ask(conflict, StatusCode::CONFLICT),
        Some(Hint::Wait(secs(1)))
    );
    assert_eq!(ask(conflict, StatusCode::NOT_FOUND), None);
    assert_eq!(ask(StandardHints, StatusCode::CONFLICT), None);
}
