//! `ContentRange`: what part of a representation a response with status 206 contains. Pure.

use http::{HeaderMap, header::CONTENT_RANGE};

/// A part of a representation: RFC 9110, section 14.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// The position of the first byte.
    pub(super) first: u64,
    /// The position after the last byte.
    pub(super) end: u64,
    /// The length of the whole representation. `None`: the server does not say.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// The range of a response. `None` if there is not exactly one, or if it is not one of bytes, or
    /// if its numbers contradict each other.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_RANGE).iter();
        let value = values.next()?;
        match values.next() {
            None => Self::parse(value.to_str().ok()?),
            Some(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.trim().split_once(' ')?;
        let (positions, total) = range.split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let range = Self {
            first: number(first)?,
            end: number(last)?.checked_add(1)?,
            total,
        };
        let is_valid = unit.eq_ignore_ascii_case("bytes")
            && range.first < range.end
            && total.is_none_or(|total| range.end <= total);
        is_valid.then_some(range)
    }
}

/// Digits only: `parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ranges() {
        for (text, first, end, total) in [
            ("bytes 0-0/1", 0, 1, Some(1)),
            ("bytes 5-9/10", 5, 10, Some(10)),
            ("Bytes 5-9/*", 5, 10, None),
            ("bytes 42-1233/1234", 42, 1234, Some(1234)),
        ] {
            let expected = ContentRange { first, end, total };
            assert_eq!(ContentRange::parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn invalid_ranges() {
        for text in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5-4/10",
            "bytes 5-10/10",
            "bytes 5-9",
            "bytes 5-/10",
            "bytes -5/10",
            "bytes +5-9/10",
            "bytes 5-9/1e1",
            "bytes 5-18446744073709551615/*",
            "bytes 99999999999999999999-99999999999999999999/*",
            "lines 5-9/10",
            "bytes  5-9/10",
        ] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn one_header_only() {
        let mut headers = HeaderMap::new();
        assert_eq!(ContentRange::of(&headers), None);
        headers.append(CONTENT_RANGE, "bytes 0-0/1".parse().unwrap());
        assert!(ContentRange::of(&headers).is_some());
        headers.append(CONTENT_RANGE, "bytes 0-0/1".parse().unwrap());
        assert_eq!(ContentRange::of(&headers), None);
    }
}
