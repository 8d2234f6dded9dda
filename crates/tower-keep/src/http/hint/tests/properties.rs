//! Properties of the hints, for all inputs.

use proptest::{collection::vec, prelude::*};

use super::*;

/// The last second that a date of HTTP can say.
const LAST: u64 = 253_402_300_799;

const NAMES: [&str; 5] = [
    "retry-after",
    "date",
    "grpc-retry-pushback-ms",
    "grpc-status-details-bin",
    "x-ratelimit-reset",
];

/// The date in each of the three forms.
fn forms(seconds: u64) -> [String; 3] {
    let fixed = httpdate::fmt_http_date(UNIX_EPOCH + secs(seconds));
    let (weekday, rest) = fixed.split_once(", ").unwrap();
    let [day, month, year, time] = rest.split(' ').take(4).collect::<Vec<_>>()[..] else {
        panic!("{fixed}")
    };
    let long = match weekday {
        "Mon" => "Monday",
        "Tue" => "Tuesday",
        "Wed" => "Wednesday",
        "Thu" => "Thursday",
        "Fri" => "Friday",
        "Sat" => "Saturday",
        _ => "Sunday",
    };
    let day_number: u32 = day.parse().unwrap();
    [
        format!("{long}, {day}-{month}-{} {time} GMT", &year[2..]),
        format!("{weekday} {month} {day_number:2} {time} {year}"),
        fixed,
    ]
}

/// A value of a header, often nearly a valid one.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        "[0-9]{0,25}".prop_map(String::into_bytes),
        "[A-Za-z0-9+/]{0,80}={0,3}".prop_map(String::into_bytes),
        "[ -~\t]{0,40}".prop_map(String::into_bytes),
        (0..=LAST, 0..3_usize).prop_map(|(at, form)| forms(at)[form].clone().into_bytes()),
        (vec(any::<u8>(), 0..60), any::<(i64, i32)>(), any::<u8>()).prop_map(
            |(mut noise, delay, at)| {
                let at = usize::from(at) % (noise.len() + 1);
                let status = encoder::status(&[delay]);
                noise.splice(at..at, status);
                encoder::unpadded(&noise).into_bytes()
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// R82 No bytes panic, and each hint but `Never` has a delay.
    #[test]
    fn no_bytes_panic(fields in vec((0..NAMES.len(), value()), 0..6)) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(NAMES[name], value);
            }
        }
        if let Some(hint) = hint(&headers) {
            prop_assert_eq!(hint.delay(&headers).is_none(), hint == Hint::Never);
            let has_pushback = headers.contains_key("grpc-retry-pushback-ms");
            prop_assert!(has_pushback || hint != Hint::Never);
        }
    }

    #[test]
    fn no_bytes_panic_below_the_headers(bytes in vec(any::<u8>(), 0..200)) {
        let _ = base64::decode(&bytes);
        let _ = retry_info::longest_delay(&bytes);
    }

    /// R82 Seconds and milliseconds are exact.
    #[test]
    fn numbers_are_exact(number in any::<u64>(), zeros in 0..4_usize, pad in "[ \t]{0,3}") {
        let value = format!("{pad}{}{number}{pad}", "0".repeat(zeros));
        let after = headers(&[("retry-after", &value)]);
        prop_assert_eq!(delay(&after), Some(secs(number)));
        let pushback = headers(&[("grpc-retry-pushback-ms", &value)]);
        prop_assert_eq!(delay(&pushback), Some(Duration::from_millis(number)));
    }

    /// R82 However wrong the server's clock is, the delay is what lies between its two dates.
    #[test]
    fn dates_are_exact_on_a_clock_that_is_wrong(
        date in 0..=LAST, by in prop_oneof![0..=LAST, 0..100_000_u64], form in 1..3_usize,
    ) {
        let by = by.min(LAST - date);
        let later = forms(date + by);
        let headers = headers(&[("date", &forms(date)[form]), ("retry-after", &later[form])]);
        prop_assert_eq!(delay(&headers), Some(secs(by)));
        let ratelimit = Hint::at_unix_seconds(date + by);
        prop_assert_eq!(ratelimit.delay(&headers), Some(secs(by)));
    }

    /// R82 The same with years of two digits, in which a year means 1970 to 2069.
    #[test]
    fn short_years_are_exact(date in 0..3_155_760_000_u64, by in 0..3_155_760_000_u64) {
        let later = date.saturating_add(by).min(3_155_759_999);
        let headers = headers(&[("date", &forms(date)[0]), ("retry-after", &forms(later)[0])]);
        prop_assert_eq!(delay(&headers), Some(secs(later - date)));
    }

    /// R82 No field shortens what another one asks for.
    #[test]
    fn more_fields_never_come_earlier(asked in 0..1_000_000_u64, others in vec(value(), 0..4)) {
        let mut fields: Vec<_> = others.into_iter().map(|value| ("retry-after", value)).collect();
        fields.retain(|(_, value)| HeaderValue::from_bytes(value).is_ok());
        fields.insert(fields.len() / 2, ("retry-after", asked.to_string().into_bytes()));
        prop_assert!(delay(&headers(&fields)) >= Some(secs(asked)));
    }

    /// R82 A `RetryInfo` is read as it was written, with padding and without.
    #[test]
    fn retry_infos_survive_the_way(delays in vec((0..=i64::MAX, 0..1_000_000_000), 1..4)) {
        let longest = delays.iter().map(|(s, n)| Duration::new(*s as u64, *n as u32)).max();
        let status = encoder::status(&delays);
        for text in [encoder::padded(&status), encoder::unpadded(&status)] {
            let headers = headers(&[("grpc-status-details-bin", text)]);
            prop_assert_eq!(delay(&headers), longest);
        }
    }

    #[test]
    fn base64_survives_the_way(bytes in vec(any::<u8>(), 1..100)) {
        for text in [encoder::padded(&bytes), encoder::unpadded(&bytes)] {
            prop_assert_eq!(base64::decode(text.as_bytes()), Some(bytes.clone()));
        }
    }
}
