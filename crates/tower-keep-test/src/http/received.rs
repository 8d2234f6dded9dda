//! [`Received`]: the record of one request, as it arrived.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Uri, Version, header};
use tokio::time::Instant;

/// A request as the origin received it.
///
/// The record begins when the head of the request arrived. The other fields follow:
/// [`Origin::received`](super::Origin::received) shows the present state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The target of the request: path and query, in HTTP/2 with scheme and authority.
    pub uri: Uri,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub version: Version,
    /// The headers. Credentials and cookies are marked as sensitive: `Debug` hides them.
    pub headers: HeaderMap,
    /// The part of the body that has arrived.
    pub body: Bytes,
    /// The trailers after the body.
    pub trailers: Option<HeaderMap>,
    /// Whether the request arrived completely. Without a body, it does with its head.
    pub complete: bool,
    /// When the head arrived.
    pub at: Instant,
    /// The number of the connection, from zero.
    pub connection: usize,
    /// The number of the request on its connection, from zero.
    pub index: usize,
    /// Whether the request counts as processed. It is `false` if the origin told the client that it
    /// was not: by REFUSED_STREAM, or by a GOAWAY below it.
    pub processed: bool,
    /// When the client gave up: it closed the connection or reset the stream before the reply ended.
    pub abandoned: Option<Instant>,
}

impl Received {
    pub(super) fn new(
        (method, uri, version): (Method, Uri, Version),
        mut headers: HeaderMap,
        connection: usize,
        index: usize,
    ) -> Self {
        for name in [
            header::AUTHORIZATION,
            header::PROXY_AUTHORIZATION,
            header::COOKIE,
        ] {
            if let header::Entry::Occupied(mut entry) = headers.entry(name) {
                for value in entry.iter_mut() {
                    value.set_sensitive(true);
                }
            }
        }
        Self {
            method,
            uri,
            version,
            headers,
            body: Bytes::new(),
            trailers: None,
            complete: false,
            at: Instant::now(),
            connection,
            index,
            processed: true,
            abandoned: None,
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The first value of a header, if it is text.
    ///
    /// # Panics
    ///
    /// If `name` is not a header name.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let name: HeaderName = name
            .parse()
            .unwrap_or_else(|_| panic!("{name:?} is not a header name"));
        self.headers.get(name)?.to_str().ok()
    }

    /// The authority that the client asked for: `:authority` or `Host`.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        match self.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => self.header("host"),
        }
    }
}
