//! `DedupLayer::http_get`, its settings and its policy.

use http::HeaderName;
use tower_service::Service;

use super::{
    answer::Answer,
    exchange::Exchange,
    key::{ByRequest, GetKey},
    request::GetRequest,
    response::ShareResponse,
};
use crate::{
    DedupLayer,
    dedup::{Collapse, CollapsePolicy, Concerns},
    error::BoxError,
    http::HttpResponse,
    reject::Fail,
    unshare::Unshare,
};

/// Shares an answer where RFC 9111 allows it. Made by
/// [`DedupLayer::http_get`](crate::DedupLayer::http_get).
#[derive(Clone, Copy, Debug)]
pub struct ShareGets {
    /// In bytes.
    max_body: usize,
}

impl<S, Request> CollapsePolicy<S, Request> for ShareGets
where
    S: Service<Request, Response: ShareResponse, Error: Into<BoxError>, Future: Send + 'static>
        + Send
        + 'static,
    Request: GetRequest,
{
    type Exchange = Exchange<S>;
    type Answer = Answer<<S::Response as ShareResponse>::Given>;
    type Response = <S::Response as ShareResponse>::Given;
    type Key = GetKey;

    fn exchange(&self, service: S) -> Exchange<S> {
        Exchange::new(service, self.max_body)
    }

    fn copy(&self, request: &Request) -> Option<Request> {
        request.copy()
    }

    fn claim(answer: Self::Answer, request: &Request) -> Option<Self::Response> {
        answer.claim::<S::Response>(request.headers())
    }

    fn changes(request: &Request) -> Option<Concerns<GetKey>> {
        (!request.method().is_safe()).then(|| {
            let target = request.target();
            Box::new(move |key: &GetKey| key.concerns(&target)) as _
        })
    }

    fn may_have_changed(response: &S::Response) -> bool {
        let status = response.status();
        !status.is_client_error() && !status.is_server_error()
    }

    fn pass(response: S::Response) -> Self::Response {
        response.pass()
    }
}

/// The layer that [`DedupLayer::http_get`] makes.
pub type HttpGetLayer<O = Fail> = DedupLayer<ByRequest, GetKey, Collapse<ShareGets>, O>;

impl DedupLayer<ByRequest, GetKey, Collapse<ShareGets>> {
    /// For HTTP clients: equal GETs that are in flight at the same time share one exchange, where
    /// RFC 9111 allows it. See [the rules](crate::http::shared_get).
    ///
    /// If the answer may not be shared, one caller gets it, and each other caller sends its own
    /// request. Every other request passes through.
    ///
    /// A body that may be shared is read to its end before its callers get the response, even if there
    /// is only one: up to 1 MiB, see [`max_body`](Self::max_body). The response of an inner `http::Response<B>` is an
    /// `http::Response<`[`GetBody<B>`](crate::http::shared_get::GetBody)`>`. reqwest's stays a
    /// `reqwest::Response`.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::BodyExt;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use tower::{Layer, Service, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, DedupLayer};
    ///
    /// static EXCHANGES: AtomicU32 = AtomicU32::new(0);
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let mut client = DedupLayer::http_get().layer(service_fn(|request: Request<String>| async move {
    ///     EXCHANGES.fetch_add(1, Ordering::Relaxed);
    ///     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ///     let is_private = request.uri().path() == "/account";
    ///     let answer = Response::builder()
    ///         .header("cache-control", if is_private { "private" } else { "max-age=60" });
    ///     Ok::<_, BoxError>(answer.body("a page".to_owned())?)
    /// }));
    /// for (path, exchanges) in [("/news", 1), ("/account", 3)] {
    ///     EXCHANGES.store(0, Ordering::Relaxed);
    ///     let mut calls = Vec::new();
    ///     for _ in 0..3 {
    ///         let request = Request::get(format!("https://example.com{path}")).body(String::new())?;
    ///         calls.push(client.ready().await?.call(request));
    ///     }
    ///     for response in futures_util::future::try_join_all(calls).await? {
    ///         assert_eq!(response.into_body().collect().await?.to_bytes(), "a page");
    ///     }
    ///     assert_eq!(EXCHANGES.load(Ordering::Relaxed), exchanges);
    /// }
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn http_get() -> Self {
        Self::collapsing(
            ByRequest::default(),
            Collapse(ShareGets {
                max_body: 1024 * 1024,
            }),
            Fail,
        )
    }
}

impl<O> DedupLayer<ByRequest, GetKey, Collapse<ShareGets>, O> {
    /// Shares bodies up to this number of bytes. Default: 1 MiB, which is more than most pages and
    /// API answers have, and little enough for hundreds of exchanges at a time.
    ///
    /// A longer body goes to one caller, who reads it as a stream. If its length is known from the
    /// head, it streams at once. Otherwise it streams after this number of bytes. With 0, only answers
    /// without a body are shared.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.unshare();
        self.mode.0.max_body = bytes;
        self
    }

    /// Requests are equal even if they differ in this header. By default all headers count, except
    /// those of tracing: see [the key](crate::http::shared_get#equal-requests).
    ///
    /// For a header that differs between calls and never changes the answer. **Never ignore a header
    /// that says who asks**: callers would get the answers of others. If the answer's `Vary` names
    /// the header, it counts nevertheless.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_keep::DedupLayer;
    ///
    /// let dedup = DedupLayer::http_get().ignore_header(HeaderName::from_static("x-sent-at"));
    /// # let _ = dedup;
    /// ```
    #[must_use]
    pub fn ignore_header(mut self, name: HeaderName) -> Self {
        self.unshare();
        self.key.ignore(name);
        self
    }
}
