//! The parts of requests and responses that the layers read: `HttpRequest`, `HttpResponse`.

use http::{Extensions, HeaderMap, Method, StatusCode, header::HOST, uri::Scheme};

use super::authority::Authority;

/// A request of an HTTP client: [`http::Request`], or reqwest's `Request` with the feature
/// `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP request that the layers know",
    label = "not an HTTP request",
    note = "`http::Request` is one, and with the feature `reqwest-0-13` also `reqwest::Request`"
)]
pub trait HttpRequest: sealed::Request {
    /// The method.
    fn method(&self) -> &Method;

    /// The headers.
    fn headers(&self) -> &HeaderMap;

    /// The headers, mutably.
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// The host and port of the server: from the URL, or else from the header `Host`. `None` if
    /// neither names a server.
    fn authority(&self) -> Option<Authority>;

    /// The extensions. `None` for reqwest, whose requests hide them.
    fn extensions(&self) -> Option<&Extensions>;
}

/// A response of an HTTP client: [`http::Response`], or reqwest's `Response` with the feature
/// `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP response that the layers know",
    label = "not an HTTP response",
    note = "`http::Response` is one, and with the feature `reqwest-0-13` also `reqwest::Response`"
)]
pub trait HttpResponse: sealed::Response {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The headers.
    fn headers(&self) -> &HeaderMap;
}

impl<B> HttpRequest for http::Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn authority(&self) -> Option<Authority> {
        let uri = self.uri();
        let is_plain = uri.scheme() == Some(&Scheme::HTTP);
        if let Some(host) = uri.authority() {
            return Some(Authority::of(host, is_plain));
        }
        let host = self.headers().get(HOST)?.to_str().ok()?;
        host.parse().ok()
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }
}

impl<B> HttpResponse for http::Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

pub(super) mod sealed {
    pub trait Request {
        /// The request with a body whose bytes are the progress of the current job, if that leaves
        /// its type as it is. `in_memory`: also a body that the client could send twice.
        #[cfg(feature = "progress")]
        fn count_upload(self, in_memory: bool) -> Self
        where
            Self: Sized,
        {
            let _ = in_memory;
            self
        }
    }
    pub trait Response {}
    impl<B> Request for http::Request<B> {}
    impl<B> Response for http::Response<B> {}
}
