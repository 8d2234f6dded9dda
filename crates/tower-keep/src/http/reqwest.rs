//! reqwest's requests, responses and errors.

use std::error::Error;

use http::{Extensions, HeaderMap, Method, StatusCode};
use reqwest::{Request, Response};

use super::{
    authority::Authority,
    error_kind::ErrorKind,
    message::{HttpRequest, HttpResponse, sealed},
};

impl HttpRequest for Request {
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
        let url = self.url();
        let is_plain = url.scheme() == "http";
        Some(Authority::new(url.host_str()?, url.port(), is_plain))
    }

    fn extensions(&self) -> Option<&Extensions> {
        None
    }
}

impl HttpResponse for Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

impl sealed::Request for Request {
    #[cfg(feature = "progress")]
    fn count_upload(self, in_memory: bool) -> Self {
        super::upload::count_reqwest(self, in_memory)
    }
}

impl sealed::Response for Response {}

/// The kind of an error of reqwest, if this error decides without its sources.
pub(super) fn kind_of(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let error = error.downcast_ref::<reqwest::Error>()?;
    if error.is_builder() || error.is_redirect() || error.is_upgrade() {
        return Some(ErrorKind::Permanent);
    }
    if !error.is_decode() && !error.is_body() {
        // Its source says what happened to the request. `is_connect` does not: it looks at all
        // sources, also at those of a request body that comes from another server.
        return None;
    }
    // A body that was cut is a decoding error. So is a whole body of another format.
    let is_transport = crate::error::find::<hyper::Error>(error).is_some();
    Some(match error.is_timeout() {
        true => ErrorKind::BodyStalled,
        false if is_transport => ErrorKind::BodyTruncated,
        false => ErrorKind::Permanent,
    })
}
