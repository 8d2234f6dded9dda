//! [`StandardHints`]: the headers of the standards, and which of them counts.

use http::{HeaderMap, StatusCode};

use super::{Hint, RetryHint, grpc, retry_after};

/// The hints of the standards for HTTP and gRPC: the default.
///
/// | header | meaning |
/// |---|---|
/// | `grpc-retry-pushback-ms` (gRFC A6) | wait for this number of milliseconds; anything else, such as `-1`, forbids a repetition |
/// | `grpc-status-details-bin` with a `google.rpc.RetryInfo` | wait for its `retry_delay`, with fractions of a second |
/// | `Retry-After` (RFC 9110, section 10.2.3) | wait for this number of seconds, or come back at this date |
///
/// The pushback decides if there is a pushback. Otherwise the longest of the valid hints counts,
/// because to come back too early is worse than to come back late. A value that is not valid is
/// ignored: a sign, a fraction or a unit in `Retry-After`, a date in an unknown form, a negative
/// `retry_delay`. A number beyond the range is the highest number. The status plays no part.
///
/// The layers of this library read these fields only from the headers. gRPC also sends them as
/// trailers: your own code can pass the trailers to [`hint`](RetryHint::hint).
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, HeaderValue, StatusCode};
/// use tower_keep::http::{Hint, RetryHint, StandardHints};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", HeaderValue::from_static("120"));
/// let hint = StandardHints.hint(StatusCode::SERVICE_UNAVAILABLE, &headers);
/// assert_eq!(hint, Some(Hint::Wait(Duration::from_secs(120))));
///
/// headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static("-1"));
/// assert_eq!(StandardHints.hint(StatusCode::OK, &headers), Some(Hint::Never));
/// ```
///
/// A closure can add a header to them. For [`RetryLayer::hints`](crate::RetryLayer::hints) leave
/// `StandardHints` out: the layer asks it after a `None`.
///
/// ```
/// # use std::time::Duration;
/// # use http::{HeaderMap, HeaderValue, StatusCode};
/// # use tower_keep::http::{Hint, RetryHint, StandardHints};
/// let hints = |status: StatusCode, headers: &HeaderMap| {
///     let asked = headers.get("retry-after-ms").and_then(|ms| ms.to_str().ok()?.parse().ok());
///     asked
///         .map(|ms| Hint::Wait(Duration::from_millis(ms)))
///         .or_else(|| StandardHints.hint(status, headers))
/// };
/// # let mut headers = HeaderMap::new();
/// # headers.insert("retry-after-ms", HeaderValue::from_static("250"));
/// # let hint = hints.hint(StatusCode::TOO_MANY_REQUESTS, &headers);
/// # assert_eq!(hint, Some(Hint::Wait(Duration::from_millis(250))));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardHints;

impl RetryHint for StandardHints {
    fn hint(&self, _: StatusCode, headers: &HeaderMap) -> Option<Hint> {
        grpc::pushback(headers).or_else(|| {
            retry_after::hints(headers)
                .chain(grpc::retry_delays(headers).map(Hint::Wait))
                .max_by_key(|hint| hint.delay(headers))
        })
    }
}
