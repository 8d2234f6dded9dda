//! `SendDeadlineLayer`: the name of the header.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tower_layer::Layer;

use super::{
    super::status::is_grpc,
    service::SendDeadline,
    value::{GRPC_TIMEOUT, grpc_timeout, millis, parse_grpc_timeout, parse_millis},
};

/// Sends the remaining time with each request, as a header. Place it innermost.
///
/// See the [module](super) for an example, and for the limits that count.
#[derive(Clone, Debug)]
pub struct SendDeadlineLayer {
    header: HeaderName,
}

impl SendDeadlineLayer {
    /// `grpc-timeout` for gRPC, `x-envoy-expected-rq-timeout-ms` for other requests.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
        }
    }

    /// Another name of the header for requests other than gRPC. The value stays a number of
    /// milliseconds. Default: `x-envoy-expected-rq-timeout-ms`.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.header = name;
        self
    }

    /// Sets the header, unless it carries a shorter time.
    pub(super) fn send(&self, headers: &mut HeaderMap, remaining: Duration) {
        let is_grpc = is_grpc(headers);
        let (name, parse): (_, fn(&_) -> _) = match is_grpc {
            true => (GRPC_TIMEOUT, parse_grpc_timeout),
            false => (self.header.clone(), parse_millis),
        };
        let carried = headers.get_all(&name).iter().filter_map(parse).min();
        if carried.is_some_and(|carried| carried <= remaining) {
            return;
        }
        let value = match is_grpc {
            true => grpc_timeout(remaining),
            false => millis(remaining),
        };
        headers.insert(name, value);
    }
}

impl Default for SendDeadlineLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for SendDeadlineLayer {
    type Service = SendDeadline<S>;

    fn layer(&self, inner: S) -> SendDeadline<S> {
        SendDeadline::new(inner, self.clone())
    }
}
