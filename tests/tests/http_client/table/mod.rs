//! The table of HTTP clients: what is repeated and when, what a circuit counts, what the log says.
//!
//! The expected columns are written from the RFCs. They never ask the library.

mod connections;
mod counts;
mod faults;
mod methods;
mod moments;

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use tower_keep::RepeatRequest;

type Fields = [(&'static str, &'static str)];

/// The statuses that say: the same request may succeed later.
const RETRIED: [(u16, &str); 6] = [
    (408, "RFC 9110, 15.5.9: the client may repeat it"),
    (
        425,
        "RFC 8470, 5.2: not processed, to be repeated after the handshake",
    ),
    (429, "RFC 6585, 4: wait, then send a new request"),
    (502, "RFC 9110, 15.6.3: a gateway got an invalid response"),
    (503, "RFC 9110, 15.6.4: an overload that likely passes"),
    (504, "RFC 9110, 15.6.5: a gateway got no response in time"),
];

/// Each method, whether it is idempotent, and who says so.
const METHODS: [(&str, bool, &str); 11] = [
    ("GET", true, "RFC 9110, 9.2.1 (safe) and 9.2.2"),
    ("HEAD", true, "RFC 9110, 9.2.1 (safe) and 9.2.2"),
    ("OPTIONS", true, "RFC 9110, 9.2.1 (safe) and 9.2.2"),
    ("TRACE", true, "RFC 9110, 9.2.1 (safe) and 9.2.2"),
    ("QUERY", true, "RFC 10008: safe and idempotent"),
    ("PUT", true, "RFC 9110, 9.2.2"),
    ("DELETE", true, "RFC 9110, 9.2.2"),
    ("POST", false, "RFC 9110, 9.3.3"),
    ("PATCH", false, "RFC 5789, 2: neither safe nor idempotent"),
    ("CONNECT", false, "RFC 9110, 9.3.6: a tunnel"),
    (
        "BREW",
        false,
        "RFC 9110, 9.2.2: an unknown method is not known to be idempotent",
    ),
];

/// What says, next to the method, whether a request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Choice {
    Nothing,
    Key(&'static str),
    KeyButForbidden,
    Extension(RepeatRequest),
    RepeatBy(Option<RepeatRequest>),
    EveryMethod,
    Status500,
}

/// Each choice, and whether it lets the request be repeated. `None` leaves it to the method.
const CHOICES: [(Choice, Option<bool>); 11] = [
    (Choice::Nothing, None),
    // The draft of the Idempotency-Key header, section 2.
    (Choice::Key("\"8e03978e\""), Some(true)),
    // Not a key.
    (Choice::Key(""), None),
    (Choice::KeyButForbidden, Some(false)),
    (Choice::Extension(RepeatRequest::Allowed), Some(true)),
    (Choice::Extension(RepeatRequest::Forbidden), Some(false)),
    (Choice::RepeatBy(Some(RepeatRequest::Allowed)), Some(true)),
    (
        Choice::RepeatBy(Some(RepeatRequest::Forbidden)),
        Some(false),
    ),
    (Choice::RepeatBy(None), None),
    (Choice::EveryMethod, Some(true)),
    (Choice::Status500, None),
];

/// The attempts without a hint: the backoff of 100, 200 and 400 ms.
const BACKOFF: [u64; 4] = [0, 100, 300, 700];

/// What a server says, and when the attempts are, in ms. The overall limit is 50 s, the longest
/// accepted wait 60 s.
///
/// Retry-After is RFC 9110, 10.2.3; its dates are 5.6.7. The pushback is gRFC A6.
const HINTS: [(&Fields, &[u64]); 17] = [
    (&[], &BACKOFF),
    (&[("retry-after", "7")], &[0, 7000, 14_000, 21_000]),
    // The fourth attempt would begin after 60 s.
    (&[("retry-after", "20")], &[0, 20_000, 40_000]),
    (
        &[("retry-after", "Sun, 06 Nov 1994 08:49:44 GMT"), DATE],
        &[0, 7000, 14_000, 21_000],
    ),
    (
        &[("retry-after", "Sunday, 06-Nov-94 08:49:44 GMT"), DATE],
        &[0, 7000, 14_000, 21_000],
    ),
    (
        &[("retry-after", "Sun Nov  6 08:49:44 1994"), DATE],
        &[0, 7000, 14_000, 21_000],
    ),
    // In the past, now, and not valid.
    (
        &[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT"), DATE],
        &BACKOFF,
    ),
    (
        &[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")],
        &BACKOFF,
    ),
    (&[("retry-after", "0")], &BACKOFF),
    (&[("retry-after", "-7")], &BACKOFF),
    (&[("retry-after", "7.5")], &BACKOFF),
    (&[("retry-after", "soon")], &BACKOFF),
    // Beyond `max_requested_delay`, and beyond the overall limit.
    (&[("retry-after", "61")], &[0]),
    (&[("retry-after", "51")], &[0]),
    (
        &[("grpc-retry-pushback-ms", "1500")],
        &[0, 1500, 3000, 4500],
    ),
    (&[("grpc-retry-pushback-ms", "-1")], &[0]),
    (
        &[("grpc-retry-pushback-ms", "1500"), ("retry-after", "7")],
        &[0, 1500, 3000, 4500],
    ),
];

const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

fn is_retried(status: u16) -> bool {
    RETRIED.iter().any(|(retried, _)| *retried == status)
}

/// The moments of the attempts, as the tables say.
fn expected(
    status: u16,
    (_, idempotent, _): (&str, bool, &str),
    (choice, allows): (Choice, Option<bool>),
    moments: &[u64],
) -> Vec<Duration> {
    let is_failure = is_retried(status) || (choice == Choice::Status500 && status == 500);
    let attempts = match is_failure && allows.unwrap_or(idempotent) {
        true => moments,
        false => &[0],
    };
    attempts
        .iter()
        .copied()
        .map(Duration::from_millis)
        .collect()
}

fn headers(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn response(status: u16, fields: &Fields) -> http::Response<String> {
    let mut response = http::Response::new("body".to_owned());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(fields);
    response
}

fn request(method: &str) -> http::Request<String> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = http::Request::builder().method(method);
    request
        .uri("http://api.example/")
        .body("body".to_owned())
        .unwrap()
}
