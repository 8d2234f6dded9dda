//! The `Retry-After` header.

use std::time::Duration;

/// How long a server asks to be left alone, from its `Retry-After` header: seconds, or a date,
/// which is measured against the same response's `Date` header, as the two clocks need not agree.
/// `None` if the header says nothing that can be followed.
pub(crate) fn retry_after(header: &str, date: Option<&str>) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large is a long time, not an error.
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(header).ok()?;
    let now = httpdate::parse_http_date(date?.trim()).ok()?;
    // A date that has passed means at once.
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn seconds(header: &str, date: Option<&str>) -> Option<u64> {
        retry_after(header, date).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(seconds("0", None), Some(0));
        assert_eq!(seconds(" 7 ", None), Some(7));
        assert_eq!(seconds("007", None), Some(7));
        assert_eq!(seconds(&"9".repeat(50), None), Some(u64::MAX));
    }

    #[test]
    fn dates_are_read_in_all_three_forms() {
        for header in [
            "Sun, 06 Nov 1994 08:50:07 GMT",
            "Sunday, 06-Nov-94 08:50:07 GMT",
            "Sun Nov  6 08:50:07 1994",
        ] {
            assert_eq!(seconds(header, Some(DATE)), Some(30), "{header}");
        }
    }

    #[test]
    fn a_date_that_has_passed_is_now() {
        assert_eq!(
            seconds("Sun, 06 Nov 1994 08:00:00 GMT", Some(DATE)),
            Some(0)
        );
    }

    #[test]
    fn a_date_needs_the_servers_own() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", Some("now")), None);
    }

    #[test]
    fn what_is_neither_is_ignored() {
        for header in ["", " ", "-1", "1.5", "+3", "UTC", "1 s", "soon"] {
            assert_eq!(seconds(header, Some(DATE)), None, "{header:?}");
        }
    }
}
