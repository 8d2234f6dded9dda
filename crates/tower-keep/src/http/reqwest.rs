//! reqwest's requests and responses as HTTP messages.

use http::{Extensions, HeaderMap, Method, StatusCode};
use reqwest::{Request, Response};

use super::{
    authority::Authority,
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
        Authority::new(url.host_str()?, url.port(), url.scheme() == "http")
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

impl sealed::Request for Request {}
impl sealed::Response for Response {}
