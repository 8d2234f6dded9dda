//! The hints of a response, for any headers. Each line of the input is a header: the first byte
//! chooses the name, the rest is the value.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use tower_keep::http::{Hint, RetryHint, StandardHints};

const PUSHBACK: &str = "grpc-retry-pushback-ms";

fn name(first: u8) -> HeaderName {
    HeaderName::from_static(match first {
        b'A' => "retry-after",
        b'D' => "date",
        b'P' => PUSHBACK,
        b'S' => "grpc-status-details-bin",
        _ => "x-ratelimit-reset",
    })
}

/// The number in a header of digits only.
fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    // A longer input finds nothing else, only later.
    for line in input.split(|byte| *byte == b'\n').take(16) {
        let Some((first, value)) = line.split_first() else {
            continue;
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name(*first), value);
        }
    }
    let hint = StandardHints.hint(StatusCode::SERVICE_UNAVAILABLE, &headers);
    let delay = hint.and_then(|hint| hint.delay(&headers));

    match headers.get(PUSHBACK) {
        // It decides alone, and a number is exact.
        Some(first) => {
            let is_only = headers.get_all(PUSHBACK).iter().count() == 1;
            match number(first) {
                Some(ms) if is_only => assert_eq!(delay, Some(Duration::from_millis(ms))),
                _ if is_only => assert!(hint.is_some()),
                _ => assert_eq!(hint, Some(Hint::Never)),
            }
        }
        // Nothing else forbids a repetition, and no field shortens what another one asks for.
        None => {
            assert_eq!(hint.is_some(), delay.is_some());
            for seconds in headers.get_all("retry-after").iter().filter_map(number) {
                assert!(delay >= Some(Duration::from_secs(seconds)));
            }
        }
    }

    // Every time of a header has a delay, also on a server whose clock is wrong.
    for seconds in headers
        .get_all("x-ratelimit-reset")
        .iter()
        .filter_map(number)
    {
        assert!(Hint::at_unix_seconds(seconds).delay(&headers).is_some());
    }
});
