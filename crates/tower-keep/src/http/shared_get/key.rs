//! `GetKey`: what makes two GETs equal.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::Scheme};

use super::{request::GetRequest, rules::may_share_request};
use crate::{for_request::AskRequest, http::Authority};

/// What makes two GETs of [`DedupLayer::http_get`](crate::DedupLayer::http_get) equal: the method,
/// the URL without its fragment, the headers, and reqwest's timeout of the request.
///
/// `Debug` shows the method, the server and the path. It shows no query and no header, because they
/// may be secret.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, Service, ServiceExt, service_fn};
/// use tower_keep::{BoxError, DedupLayer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let dedup = DedupLayer::http_get();
/// let handle = dedup.handle();
/// let mut client = dedup.layer(service_fn(|_: Request<String>| async {
///     Ok::<_, BoxError>(Response::new("a page".to_owned()))
/// }));
/// let request = Request::get("https://example.com/page?token=1").body(String::new())?;
/// let call = client.ready().await?.call(request);
///
/// let in_flight = handle.in_flight();
/// assert_eq!(in_flight[0].key().path(), "/page");
/// assert_eq!(format!("{:?}", in_flight[0].key()), "GET example.com/page");
/// # drop(call);
/// # Ok::<_, BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GetKey(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    method: Method,
    target: Target,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's own limit for the request, which ends the exchange.
    timeout: Option<Duration>,
}

/// The parts of a URL.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<Authority>,
    /// Clients send it as credentials.
    pub(super) user: Box<str>,
    pub(super) path: Box<str>,
    pub(super) query: Option<Box<str>>,
}

impl GetKey {
    /// GET or HEAD.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The server. `None` if the request names none.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.0.target.authority.as_ref()
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.target.path
    }
}

impl GetKey {
    /// Whether a change of this URL concerns the answer. The user information is not sent as a part
    /// of the URL.
    pub(super) fn concerns(&self, changed: &Target) -> bool {
        let target = &self.0.target;
        target.scheme == changed.scheme
            && target.authority == changed.authority
            && target.path == changed.path
            && target.query == changed.query
    }
}

impl fmt::Debug for GetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.method())?;
        if let Some(authority) = self.authority() {
            write!(f, "{authority}")?;
        }
        f.write_str(self.path())
    }
}

/// Headers that differ between calls and do not belong to the request: those of tracing.
const TRACING: [&str; 26] = [
    "b3",
    "elastic-apm-traceparent",
    "newrelic",
    "request-id",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-b3-flags",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-datadog-origin",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "x-datadog-trace-id",
    "x-dynatrace",
    "x-instana-l",
    "x-instana-s",
    "x-instana-t",
    "x-request-id",
];

/// Gives each GET and HEAD its key. Made by
/// [`DedupLayer::http_get`](crate::DedupLayer::http_get).
#[derive(Clone, Debug, Default)]
pub struct ByRequest {
    ignored: Arc<[HeaderName]>,
}

impl ByRequest {
    pub(super) fn ignore(&mut self, name: HeaderName) {
        self.ignored = self.ignored.iter().cloned().chain([name]).collect();
    }

    fn ignores(&self, name: &HeaderName) -> bool {
        TRACING.contains(&name.as_str()) || self.ignored.contains(name)
    }

    /// In an order that does not depend on the order in the request. Values of one name keep theirs.
    fn headers(&self, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let mut counted: Vec<_> = headers
            .iter()
            .filter(|(name, _)| !self.ignores(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        counted.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        counted
    }
}

impl<Request: GetRequest> AskRequest<Request, Option<GetKey>> for ByRequest {
    fn ask(&self, request: &Request) -> Option<GetKey> {
        let method = request.method();
        let may_share = (method == Method::GET || method == Method::HEAD)
            && request.is_bodiless()
            && may_share_request(request.headers());
        may_share.then(|| {
            GetKey(Arc::new(Parts {
                method: method.clone(),
                target: request.target(),
                headers: self.headers(request.headers()),
                timeout: request.timeout(),
            }))
        })
    }
}
