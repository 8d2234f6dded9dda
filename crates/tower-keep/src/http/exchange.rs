//! `HttpExchange`: what events and log records show of a request and its response.

use http::{Method, StatusCode};

use super::{authority::Authority, body::BodyEnd};

/// The HTTP exchange of a job: what its events and log records show of a request and its response.
///
/// It contains no path, no query, no header and no user information, because they often contain
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpExchange {
    /// The name of the request's method, or `_OTHER`: see [`new`](Self::new).
    pub method: &'static str,
    /// The host and port of the server. `None` if the request names no server.
    pub authority: Option<Authority>,
    /// The status of the server's last response. `None` before it, and after an attempt without a
    /// response. A response that a layer of this library makes instead, such as
    /// [`respond_with`](crate::reject), has no status here.
    pub status: Option<StatusCode>,
    /// How the body of that response ended, in the job's last event. `None` in other events, and if
    /// the job ended before the body: because the outermost layer of the stack does not
    /// [follow](super::body) it.
    pub body: Option<BodyEnd>,
}

/// The text for all other methods, as in OpenTelemetry.
const OTHER: &str = "_OTHER";

impl HttpExchange {
    /// An exchange without a response so far: for a test of an observer.
    ///
    /// The method is `_OTHER` unless it is one of `CONNECT`, `DELETE`, `GET`, `HEAD`, `OPTIONS`,
    /// `PATCH`, `POST`, `PUT`, `QUERY` and `TRACE`. So the number of values is bounded, and a
    /// method that comes from a user is not logged.
    ///
    /// ```
    /// use http::Method;
    /// use tower_keep::http::HttpExchange;
    ///
    /// let exchange = HttpExchange::new(&Method::GET, Some("example.com:8080".parse()?));
    /// assert_eq!((exchange.method, exchange.status), ("GET", None));
    /// let exchange = HttpExchange::new(&Method::from_bytes(b"PURGE")?, None);
    /// assert_eq!(exchange.method, "_OTHER");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(method: &Method, authority: Option<Authority>) -> Self {
        Self {
            method: known_method(method.as_str()),
            authority,
            status: None,
            body: None,
        }
    }
}

/// The method's name if it is one of OpenTelemetry's known methods. Names are case-sensitive.
pub(crate) fn known_method(name: &str) -> &'static str {
    const KNOWN: [&str; 10] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "QUERY", "CONNECT", "TRACE",
    ];
    let known = KNOWN.into_iter().find(|known| *known == name);
    known.unwrap_or(OTHER)
}
