//! `Validator`: the strong validator of a representation. Pure.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, ETAG, LAST_MODIFIED},
};

/// A strong validator: two representations with the same one have the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validator {
    kind: Kind,
    /// As the server sent it.
    value: HeaderValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EntityTag,
    LastModified,
}

/// A resource that changed twice within this time may have one date for both: RFC 9110, section
/// 8.8.2.2.
const SETTLED: Duration = Duration::from_secs(60);

impl Validator {
    /// The strong validator of a response: a strong entity tag; or without any entity tag, a date
    /// of modification that is old enough.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.contains_key(ETAG) {
            let value = only(headers, &ETAG)?;
            return is_strong_tag(value.as_bytes()).then(|| Self {
                kind: Kind::EntityTag,
                value: value.clone(),
            });
        }
        let value = only(headers, &LAST_MODIFIED)?;
        let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
        let age = date(only(headers, &DATE)?)?.duration_since(date(value)?);
        age.is_ok_and(|age| age >= SETTLED).then(|| Self {
            kind: Kind::LastModified,
            value: value.clone(),
        })
    }

    /// The value for `If-Range`.
    pub(super) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Whether this answer to a range request, with status 206, belongs to the same representation.
    ///
    /// The entity tag has to be there: RFC 9110, section 15.3.7. Without it, a server that ignores
    /// `If-Range` could send the rest of other bytes. A date may be missing: the same section asks
    /// servers to leave it out.
    pub(super) fn is_of_part(&self, headers: &HeaderMap) -> bool {
        let agrees = |name| {
            headers
                .get_all(name)
                .iter()
                .all(|value| *value == self.value)
        };
        match self.kind {
            Kind::EntityTag => headers.contains_key(ETAG) && agrees(ETAG),
            Kind::LastModified => !headers.contains_key(ETAG) && agrees(LAST_MODIFIED),
        }
    }

    /// Whether this response proves that its representation is the same one.
    pub(super) fn is_of(&self, headers: &HeaderMap) -> bool {
        Self::of(headers).as_ref() == Some(self)
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// RFC 9110, section 8.8.3.
fn is_strong_tag(tag: &[u8]) -> bool {
    match tag {
        [b'"', inner @ .., b'"'] => inner
            .iter()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = "Fri, 15 Nov 2024 12:00:00 GMT";

    fn headers<const N: usize>(pairs: [(HeaderName, &str); N]) -> HeaderMap {
        let pairs = pairs.map(|(name, value)| (name, value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        pairs.into_iter().for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn strong_and_weak_tags() {
        for (tag, is_strong) in [
            ("\"a\"", true),
            ("\"\"", true),
            ("\"a-gzip;x\"", true),
            ("W/\"a\"", false),
            ("w/\"a\"", false),
            ("a", false),
            ("\"", false),
            ("\"a", false),
            ("\"a\"b\"", false),
            ("\"a b\"", false),
            ("*", false),
        ] {
            let found = Validator::of(&headers([(ETAG, tag)]));
            assert_eq!(found.is_some(), is_strong, "{tag}");
        }
        assert_eq!(
            Validator::of(&headers([(ETAG, "\"a\""), (ETAG, "\"a\"")])),
            None
        );
    }

    /// RFC 9110, section 13.1.5: a date only if there is no entity tag.
    #[test]
    fn dates() {
        let of = |modified: &str, date: &str| {
            Validator::of(&headers([(LAST_MODIFIED, modified), (DATE, date)]))
        };
        assert!(of(DAY, "Fri, 15 Nov 2024 12:01:00 GMT").is_some());
        assert!(of(DAY, "Fri, 15 Nov 2024 12:00:59 GMT").is_none());
        assert!(of(DAY, "Fri, 15 Nov 2024 11:00:00 GMT").is_none());
        assert!(of("yesterday", "Fri, 15 Nov 2024 12:01:00 GMT").is_none());
        assert!(of(DAY, "today").is_none());
        assert!(Validator::of(&headers([(LAST_MODIFIED, DAY)])).is_none());
        let weak = [
            (ETAG, "W/\"a\""),
            (LAST_MODIFIED, DAY),
            (DATE, "Sat, 16 Nov 2024 12:00:00 GMT"),
        ];
        assert!(Validator::of(&headers(weak)).is_none());
    }

    #[test]
    fn agreement() {
        let tag = Validator::of(&headers([(ETAG, "\"a\"")])).unwrap();
        for (other, of_part, is) in [
            (headers([(ETAG, "\"a\"")]), true, true),
            (headers([(ETAG, "\"a\""), (ETAG, "\"a\"")]), true, false),
            (headers([]), false, false),
            (headers([(LAST_MODIFIED, DAY)]), false, false),
            (headers([(ETAG, "\"b\"")]), false, false),
            (headers([(ETAG, "W/\"a\"")]), false, false),
            (headers([(ETAG, "\"a\""), (ETAG, "\"b\"")]), false, false),
        ] {
            assert_eq!(
                (tag.is_of_part(&other), tag.is_of(&other)),
                (of_part, is),
                "{other:?}"
            );
        }

        let later = (DATE, "Sat, 16 Nov 2024 12:00:00 GMT");
        let date = Validator::of(&headers([(LAST_MODIFIED, DAY), later.clone()])).unwrap();
        for (other, of_part, is) in [
            (headers([(LAST_MODIFIED, DAY), later]), true, true),
            (headers([(LAST_MODIFIED, DAY)]), true, false),
            (headers([]), true, false),
            (headers([(ETAG, "\"a\"")]), false, false),
            (
                headers([(LAST_MODIFIED, "Fri, 15 Nov 2024 12:00:01 GMT")]),
                false,
                false,
            ),
        ] {
            assert_eq!(
                (date.is_of_part(&other), date.is_of(&other)),
                (of_part, is),
                "{other:?}"
            );
        }
    }
}
