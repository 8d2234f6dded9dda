//! Which answers may serve several callers: RFC 9111, sections 3 and 4. Pure.

#![allow(
    clippy::disallowed_types,
    reason = "a date in a header is a time of day"
)]

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT, AGE, CONNECTION, CONTENT_TYPE, DATE, EXPECT, EXPIRES, PRAGMA, PROXY_AUTHENTICATE,
        SET_COOKIE, UPGRADE, VARY, WWW_AUTHENTICATE,
    },
};

use super::cache_control::directives;

/// Whether a request with these headers may share an exchange.
pub(super) fn may_share_request(headers: &HeaderMap) -> bool {
    // Its caller asks for an exchange of its own, for a connection, or for a stream.
    const ALONE: [&str; 5] = [
        "no-cache",
        "no-store",
        "max-age",
        "min-fresh",
        "only-if-cached",
    ];
    let Some(directives) = directives(headers) else {
        return false;
    };
    !directives
        .iter()
        .any(|directive| ALONE.iter().any(|name| directive.is(name)))
        && ![EXPECT, UPGRADE]
            .iter()
            .any(|name| headers.contains_key(name))
        && !mentions(headers, &PRAGMA, "no-cache")
        && !mentions(headers, &CONNECTION, "upgrade")
        && !mentions(headers, &ACCEPT, "text/event-stream")
}

/// Whether a field of this name contains this text, in any case. A field that is no text does.
fn mentions(headers: &HeaderMap, name: &HeaderName, text: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let Ok(value) = value.to_str() else {
            return true;
        };
        let bytes = value.as_bytes();
        (bytes.windows(text.len())).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
    })
}

/// An answer that may be shared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shareable {
    /// A caller whose request differs in one of these fields may not have the answer.
    pub(super) vary: Vec<HeaderName>,
    /// For how long the answer is fresh. `None`: the server does not say.
    pub(super) fresh: Option<Duration>,
}

/// Whether several callers may have the answer with this head. `now` is the time of day.
pub(super) fn shareable(
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<Shareable> {
    // Of one user, or of one connection.
    const OF_ONE: [HeaderName; 5] = [
        SET_COOKIE,
        WWW_AUTHENTICATE,
        PROXY_AUTHENTICATE,
        HeaderName::from_static("authentication-info"),
        HeaderName::from_static("proxy-authentication-info"),
    ];
    if status.is_informational()
        || OF_ONE.iter().any(|name| headers.contains_key(name))
        || mentions(headers, &PRAGMA, "no-cache")
        || is_endless(headers)
    {
        return None;
    }
    let directives = directives(headers)?;
    let has = |name| directives.iter().any(|directive| directive.is(name));
    if has("private") || has("no-store") || has("no-cache") {
        return None;
    }
    let mut fresh = None::<u64>;
    for directive in &directives {
        if directive.is("max-age") || directive.is("s-maxage") {
            // Section 4.2.1: an invalid lifetime is over.
            let seconds = directive.seconds()?;
            fresh = Some(fresh.map_or(seconds, |fresh| fresh.min(seconds)));
        }
    }
    if fresh.is_none() && headers.contains_key(EXPIRES) {
        fresh = Some(until_expiry(headers, now)?);
    }
    // Section 4.2.2: without a lifetime, only an answer with such a status may be fresh.
    let is_allowed = match fresh {
        Some(_) => !has("must-understand") || is_heuristically_cacheable(status),
        None => is_heuristically_cacheable(status) || has("public"),
    };
    if !is_allowed {
        return None;
    }
    let fresh = match fresh {
        Some(fresh) => Some(Duration::from_secs(fresh.checked_sub(age(headers)?)?)),
        None => None,
    };
    if fresh.is_some_and(|fresh| fresh.is_zero()) {
        return None;
    }
    let vary = varying(headers)?;
    Some(Shareable { vary, fresh })
}

/// Whether the body may go on for ever.
fn is_endless(headers: &HeaderMap) -> bool {
    mentions(headers, &CONTENT_TYPE, "text/event-stream")
        || mentions(headers, &CONTENT_TYPE, "multipart/x-mixed-replace")
}

/// RFC 9110, section 15.1. A 304 answers a request with the same validators: its caller uses its
/// own stored answer.
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 304 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The seconds from `Date` to `Expires`. `None` if a date is not valid.
fn until_expiry(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let mut expiries = headers.get_all(EXPIRES).iter();
    let (Some(expiry), None) = (expiries.next(), expiries.next()) else {
        return None;
    };
    let since = match headers.get(DATE) {
        Some(value) => date(value)?,
        None => now,
    };
    let left = date(expiry)?.duration_since(since).unwrap_or_default();
    Some(left.as_secs())
}

/// The seconds that the answer spent in caches. `None` if the field is not valid.
fn age(headers: &HeaderMap) -> Option<u64> {
    let mut most = 0;
    for value in headers.get_all(AGE) {
        let digits = value.to_str().ok()?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        most = most.max(is_number.then(|| digits.parse().unwrap_or(u64::MAX))?);
    }
    Some(most)
}

/// The fields of `Vary`. `None` if the answer varies by anything, or if the field is not valid.
fn varying(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',') {
            let name = name.trim_matches([' ', '\t']);
            if name == "*" {
                return None;
            }
            if !name.is_empty() {
                names.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
            }
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn answer(status: u16, fields: &[(&'static str, &str)]) -> Option<Shareable> {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        shareable(StatusCode::from_u16(status).unwrap(), &headers(fields), now)
    }

    #[test]
    fn requests_that_ask_for_their_own_exchange() {
        for (field, value) in [
            ("cache-control", "no-cache"),
            ("cache-control", "max-stale, NO-STORE"),
            ("cache-control", "max-age=0"),
            ("cache-control", "min-fresh=5"),
            ("cache-control", "only-if-cached"),
            ("cache-control", "x=\"open"),
            ("pragma", "No-Cache"),
            ("expect", "100-continue"),
            ("upgrade", "h2c"),
            ("connection", "close, Upgrade"),
            ("accept", "text/html, text/event-stream"),
        ] {
            assert!(!may_share_request(&headers(&[(field, value)])), "{value}");
        }
        for (field, value) in [
            ("cache-control", "no-transform, max-stale=5"),
            ("accept", "text/html"),
            ("if-none-match", "\"a\""),
            ("connection", "keep-alive"),
        ] {
            assert!(may_share_request(&headers(&[(field, value)])), "{value}");
        }
        assert!(may_share_request(&HeaderMap::new()));
    }

    #[test]
    fn answers_of_one_caller() {
        for fields in [
            &[("cache-control", "private")] as &[_],
            &[("cache-control", "public, private=\"x-user\"")],
            &[("cache-control", "public"), ("cache-control", "No-Store")],
            &[("cache-control", "no-cache, max-age=60")],
            &[("cache-control", "no-cache=\"x\"")],
            &[("cache-control", "max-age=0")],
            &[("cache-control", "max-age=60, s-maxage=0")],
            &[("cache-control", "max-age=-1")],
            &[("cache-control", "max-age=60"), ("age", "60")],
            &[("cache-control", "max-age=60"), ("age", "x")],
            &[("cache-control", "x=\"open")],
            &[("pragma", "no-cache")],
            &[("expires", "0")],
            &[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")],
            &[
                ("expires", "Sun, 06 Nov 1994 08:49:38 GMT"),
                ("date", "Sun, 06 Nov 1994 08:49:38 GMT"),
            ],
            &[
                ("set-cookie", "a=b"),
                ("cache-control", "public, max-age=60"),
            ],
            &[("www-authenticate", "Negotiate")],
            &[("authentication-info", "nextnonce=\"x\"")],
            &[("vary", "accept, *")],
            &[("vary", "accept"), ("vary", "*")],
            &[("vary", "not a name")],
            &[("content-type", "text/event-stream; charset=utf-8")],
            &[("content-type", "multipart/x-mixed-replace;boundary=x")],
        ] {
            assert_eq!(answer(200, fields), None, "{fields:?}");
        }
        for status in [
            100, 101, 103, 201, 202, 302, 307, 400, 401, 403, 429, 500, 503,
        ] {
            assert_eq!(answer(status, &[]), None, "{status}");
        }
        assert_eq!(
            answer(599, &[("cache-control", "must-understand, max-age=60")]),
            None
        );
    }

    #[test]
    fn answers_of_all() {
        let secs = Duration::from_secs;
        for (status, fields, fresh) in [
            (200, &[] as &[_], None),
            (206, &[], None),
            (304, &[], None),
            (404, &[], None),
            (503, &[("cache-control", "max-age=5")], Some(secs(5))),
            (302, &[("cache-control", "public")], None),
            (200, &[("cache-control", "must-revalidate")], None),
            (
                200,
                &[("cache-control", "max-age=60, s-maxage=9"), ("age", "2")],
                Some(secs(7)),
            ),
            (
                200,
                &[("expires", "Sun, 06 Nov 1994 08:49:47 GMT")],
                Some(secs(10)),
            ),
            (
                200,
                &[("expires", "0"), ("cache-control", "max-age=5")],
                Some(secs(5)),
            ),
        ] {
            let found = answer(status, fields);
            let fresh = Some(Shareable {
                vary: Vec::new(),
                fresh,
            });
            assert_eq!(found, fresh, "{status} {fields:?}");
        }
        let varies = answer(200, &[("vary", "X-A, x-b"), ("vary", ",x-c")]).unwrap();
        assert_eq!(varies.vary, ["x-a", "x-b", "x-c"]);
    }
}
