//! When a server asks its clients to come back: [`RetryHint`], [`Hint`] and [`StandardHints`].

mod base64;
mod grpc;
mod retry_after;
mod retry_info;
mod standard;
#[cfg(test)]
mod tests;

#[allow(
    clippy::disallowed_types,
    reason = "the date of a header is a time of day"
)]
use std::time::SystemTime;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode, header::DATE};
use tokio::time::Instant;

pub use self::standard::StandardHints;
use crate::event::wall_time::{as_far, wall_time};

/// Reads from the head of a response when the server asks the client to come back.
///
/// [`StandardHints`] knows the headers of the standards. Implement this trait for a server with
/// headers of its own, or pass a closure `Fn(StatusCode, &HeaderMap) -> Option<Hint>`. `None` means
/// that the response says nothing. Then the standard hints apply, or else the normal backoff.
///
/// Your own hint also decides what the retry repeats. If it returns a hint for a status from 400 to
/// 599, the retry repeats the request if it may be repeated. So check the status first. With
/// `None`, the status decides, and [`RetryLayer::http`](crate::RetryLayer::http) asks
/// [`StandardHints`].
///
/// # Example
///
/// GitHub rejects requests beyond its limits with 403 or 429. The response has `Retry-After`, or it
/// names the time of the next request in `x-ratelimit-reset`, in seconds since 1970. A 403 without
/// these headers is a missing permission, and no repetition helps.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, HeaderValue, StatusCode};
/// use tower_keep::http::{Hint, RetryHint, StandardHints};
///
/// struct GitHub;
///
/// impl RetryHint for GitHub {
///     fn hint(&self, status: StatusCode, headers: &HeaderMap) -> Option<Hint> {
///         if ![StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
///             return None;
///         }
///         if let Some(hint) = StandardHints.hint(status, headers) {
///             return Some(hint);
///         }
///         let is_used_up = headers.get("x-ratelimit-remaining")? == "0";
///         let reset = headers.get("x-ratelimit-reset")?.to_str().ok()?.parse().ok()?;
///         is_used_up.then(|| Hint::at_unix_seconds(reset))
///     }
/// }
///
/// // The server's clock decides, even if it is years behind ours.
/// let mut headers = HeaderMap::new();
/// headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
/// headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
/// headers.insert("x-ratelimit-reset", HeaderValue::from_static("784111807"));
/// let hint = GitHub.hint(StatusCode::FORBIDDEN, &headers).unwrap();
/// assert_eq!(hint, Hint::at_unix_seconds(784_111_807));
/// assert_eq!(hint.delay(&headers), Some(Duration::from_secs(30)));
///
/// // The second kind of limit.
/// headers.insert("retry-after", HeaderValue::from_static("60"));
/// let hint = GitHub.hint(StatusCode::FORBIDDEN, &headers);
/// assert_eq!(hint, Some(Hint::Wait(Duration::from_secs(60))));
///
/// // A missing permission.
/// headers.remove("retry-after");
/// headers.insert("x-ratelimit-remaining", HeaderValue::from_static("4999"));
/// assert_eq!(GitHub.hint(StatusCode::FORBIDDEN, &headers), None);
///
/// // Another failure is not repeated, even with `Retry-After`.
/// headers.insert("retry-after", HeaderValue::from_static("60"));
/// assert_eq!(GitHub.hint(StatusCode::NOT_FOUND, &headers), None);
///
/// let retry = tower_keep::RetryLayer::http().hints(GitHub);
/// # let _ = retry;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not read hints from responses",
    label = "not a `RetryHint`",
    note = "a hint implements `RetryHint` or is a closure `Fn(StatusCode, &HeaderMap) -> Option<Hint>`"
)]
pub trait RetryHint {
    /// What this response says about the next attempt. `None` if it says nothing.
    fn hint(&self, status: StatusCode, headers: &HeaderMap) -> Option<Hint>;
}

#[diagnostic::do_not_recommend]
impl<F> RetryHint for F
where
    F: Fn(StatusCode, &HeaderMap) -> Option<Hint>,
{
    fn hint(&self, status: StatusCode, headers: &HeaderMap) -> Option<Hint> {
        self(status, headers)
    }
}

/// What a response says about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::disallowed_types,
    reason = "the date of a header is a time of day"
)]
#[non_exhaustive]
pub enum Hint {
    /// Come back after this time, counted from the receipt of the response.
    Wait(Duration),
    /// Come back at this time of the server's clock.
    At(SystemTime),
    /// The server forbids a repetition.
    Never,
}

impl Hint {
    /// [`At`](Self::At) this number of seconds since 1970, as in `x-ratelimit-reset`. Beyond the
    /// range of [`SystemTime`](std::time::SystemTime), the result is its last time.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use tower_keep::http::Hint;
    ///
    /// let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
    /// assert_eq!(Hint::at_unix_seconds(784_111_777), Hint::At(at));
    /// ```
    #[must_use]
    pub fn at_unix_seconds(seconds: u64) -> Self {
        let since = Duration::from_secs(seconds);
        Self::At(as_far(UNIX_EPOCH, since, |at, by| at.checked_add(by)))
    }

    /// The delay before the next attempt. `headers` are those of the response.
    ///
    /// A time is measured against the header `Date`, which is the server's clock, or without a
    /// valid `Date` against ours. A time in the past gives zero. `None` for [`Never`](Self::Never).
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use http::{HeaderMap, HeaderValue};
    /// use tower_keep::http::Hint;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
    /// assert_eq!(Hint::at_unix_seconds(784_111_782).delay(&headers), Some(Duration::from_secs(5)));
    /// assert_eq!(Hint::At(UNIX_EPOCH).delay(&headers), Some(Duration::ZERO));
    /// assert_eq!(Hint::Never.delay(&headers), None);
    /// ```
    #[must_use]
    pub fn delay(&self, headers: &HeaderMap) -> Option<Duration> {
        match *self {
            Self::Wait(delay) => Some(delay),
            Self::At(at) => {
                let now = headers.get(DATE).and_then(parse_date);
                let now = now.unwrap_or_else(|| wall_time(Instant::now()));
                Some(at.duration_since(now).unwrap_or_default())
            }
            Self::Never => None,
        }
    }
}

/// A date in one of the three forms of RFC 9110, section 5.6.7.
#[allow(
    clippy::disallowed_types,
    reason = "the date of a header is a time of day"
)]
fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(text(value)?).ok()
}

/// A number of digits only, with no sign. A number beyond the range is the highest.
fn parse_number(value: &HeaderValue) -> Option<u64> {
    let digits = text(value)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The value without spaces and tabs around it. `None` if it is not ASCII.
fn text(value: &HeaderValue) -> Option<&str> {
    Some(value.to_str().ok()?.trim_matches([' ', '\t']))
}
