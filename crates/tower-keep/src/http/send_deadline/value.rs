//! The remaining time as the value of a header. Pure.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The header of gRPC.
pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The largest number that gRPC allows: eight digits.
const MOST: u128 = 99_999_999;

/// The units of gRPC in nanoseconds, the finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// In the finest unit that fits, rounded down. At least 1 unit.
pub(super) fn grpc_timeout(remaining: Duration) -> HeaderValue {
    let nanos = remaining.as_nanos();
    let (unit, number) = UNITS
        .iter()
        .map(|(unit, size)| (*unit, nanos / size))
        .find(|(_, number)| *number <= MOST)
        .unwrap_or((b'H', MOST));
    let mut text = [0; 9];
    let mut at = text.len() - 1;
    text[at] = unit;
    let mut rest = number.max(1);
    while rest > 0 {
        at -= 1;
        // A digit, so it fits.
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    match HeaderValue::from_bytes(&text[at..]) {
        Ok(value) => value,
        Err(_) => unreachable!("digits and a letter are a header value"),
    }
}

/// In milliseconds, rounded down. At least 1.
pub(super) fn millis(remaining: Duration) -> HeaderValue {
    let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
    HeaderValue::from(millis.max(1))
}

/// The time of a `grpc-timeout`. `None` if it is no value of gRPC's.
pub(super) fn parse_grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let (_, size) = UNITS.iter().find(|(name, _)| name == unit)?;
    let number = number(digits).filter(|_| digits.len() <= 8)?;
    let nanos = u128::from(number) * size;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    // Below a second, so it fits.
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// The time of a header in milliseconds. `None` if it is no number, or 0, which proxies use for "no
/// limit".
pub(super) fn parse_millis(value: &HeaderValue) -> Option<Duration> {
    number(value.as_bytes())
        .filter(|millis| *millis > 0)
        .map(Duration::from_millis)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grpc(remaining: Duration) -> String {
        grpc_timeout(remaining).to_str().unwrap().to_owned()
    }

    #[test]
    fn the_finest_unit_that_fits() {
        let table = [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(1), "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_secs(5), "5000000u"),
            (Duration::from_nanos(99_999_999_999), "99999999u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(99_999), "99999000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(60 * 100_000_000), "1666666H"),
            (Duration::MAX, "99999999H"),
        ];
        for (remaining, expected) in table {
            assert_eq!(grpc(remaining), expected);
        }
    }

    #[test]
    fn millis_are_rounded_down() {
        let table = [
            (Duration::ZERO, "1"),
            (Duration::from_nanos(999_999), "1"),
            (Duration::from_nanos(1_999_999), "1"),
            (Duration::from_secs(2), "2000"),
            (Duration::MAX, "18446744073709551615"),
        ];
        for (remaining, expected) in table {
            assert_eq!(millis(remaining), expected);
        }
    }

    #[test]
    fn bad_values_are_none() {
        for text in [
            "",
            "n",
            "1",
            "1x",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "123456789n",
            "1Sn",
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(parse_grpc_timeout(&value), None, "{text:?}");
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "1.5",
            "1 ",
            "1ms",
            "18446744073709551616",
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(parse_millis(&value), None, "{text:?}");
        }
    }

    proptest! {
        /// Never more than what remains, and less by no more than a unit, a hundred-thousandth.
        #[test]
        fn never_rounded_up(nanos in 1_u64.., shift in 0_u32..64) {
            let remaining = Duration::from_nanos((nanos >> shift).max(1));
            let value = grpc_timeout(remaining);
            prop_assert!(value.len() <= 9);
            let sent = parse_grpc_timeout(&value).unwrap();
            prop_assert!(sent <= remaining);
            prop_assert!(remaining - sent <= remaining / 100_000);
        }
    }
}
