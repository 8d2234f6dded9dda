//! `Pipeline::http_client`: the whole stack for an HTTP client.

use std::time::Duration;

use super::{
    authority::Authority,
    body::{AtBodyEnd, ByteCount},
    circuit_breaker::ByAuthority,
    classify::{ServerErrors, ServerFailures},
    log::HttpFields,
    policy::HttpPolicy,
    retry::HttpHooks,
    timeout::{ThenIdle, UntilEnd},
};
use crate::{
    CancelLayer, CircuitBreakerLayer, LogLayer, Pipeline, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::{FollowBody, NoGroup},
    circuit_breaker::per_key::PerKey,
    pipeline::{Identity, PipelineService},
    reject::Fail,
};

/// The pipeline that [`Pipeline::http_client`] makes.
pub type HttpClientPipeline = Pipeline<
    LogLayer<ServerErrors, HttpFields>,
    ProgressLayer<ByteCount>,
    CancelLayer<NoGroup, FollowBody>,
    Identity,
    CircuitBreakerLayer<ServerFailures, PerKey<ByAuthority, Authority, AtBodyEnd>>,
    HttpTimeout<UntilEnd>,
    RetryLayer<HttpPolicy, HttpHooks>,
    HttpTimeout<ThenIdle>,
>;

type HttpTimeout<B> = TimeoutLayer<Option<Duration>, Option<Duration>, Fail, B>;

/// The client `S` with [`Pipeline::http_client`] around it, to keep it in a struct.
///
/// The type stays the same if you change numbers, statuses or hints. It changes with a closure,
/// such as that of [`repeat_by`](RetryLayer::repeat_by), and with any setter that returns another
/// type. Then put the stack into a box, which allocates once for each call:
///
#[cfg_attr(feature = "reqwest-0-13", doc = "```")]
#[cfg_attr(not(feature = "reqwest-0-13"), doc = "```ignore")]
/// use reqwest::{Client, Request, Response};
/// use tower::{Layer, util::BoxCloneSyncService};
/// use tower_keep::{BoxError, Pipeline, RepeatRequest, RetryLayer, SendThrough};
///
/// struct Api {
///     client: Client,
///     stack: BoxCloneSyncService<Request, Response, BoxError>,
/// }
///
/// impl Api {
///     fn new(client: Client) -> Result<Self, BoxError> {
///         let retry = RetryLayer::http()
///             .repeat_by(|request: &Request| (request.url().path() == "/search").then_some(RepeatRequest::Allowed));
///         let stack = Pipeline::http_client().retry(retry).build()?.layer(client.clone());
///         Ok(Self { client, stack: BoxCloneSyncService::new(stack) })
///     }
///
///     async fn search(&self, text: String) -> Result<Response, BoxError> {
///         let request = self.client.post("https://api.example.com/search").body(text);
///         request.send_through(&self.stack).await
///     }
/// }
/// # let _ = (Api::new, Api::search);
/// ```
pub type HttpClient<S> = PipelineService<S, HttpClientPipeline>;

impl Pipeline {
    /// The stack for an HTTP client: safe for production, and a place to begin.
    ///
    /// Outermost first: [`LogLayer::http`], [`ProgressLayer::http`], [`CancelLayer::http`],
    /// [`CircuitBreakerLayer::http`], [`TimeoutLayer::http`] of 60 s, [`RetryLayer::http`],
    /// [`TimeoutLayer::http_attempt`] of 10 s. So each call takes at most 60 s, to the [end of its
    /// body](crate::timeout#http-bodies). Set [`timeout`](Self::timeout) for large bodies.
    ///
    /// Each setter replaces one layer. [`build`](Self::build) checks that the settings fit
    /// together. [`IdempotencyKeyLayer`](crate::IdempotencyKeyLayer) and
    /// [`ReplayLayer`](crate::ReplayLayer) go around the result,
    /// [`SendDeadlineLayer`](crate::SendDeadlineLayer) goes around the client.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::BodyExt;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Pipeline};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let client = service_fn(|request: Request<String>| async move {
    ///     Ok::<_, BoxError>(Response::new(request.uri().path().to_owned()))
    /// });
    /// let api = Pipeline::http_client().build()?.layer(client);
    /// let page = api.oneshot(Request::get("https://api.example.com/page").body(String::new())?).await?;
    /// assert_eq!(page.into_body().collect().await?.to_bytes(), "/page");
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn http_client() -> HttpClientPipeline {
        Self::new()
            .log(LogLayer::http())
            .progress(ProgressLayer::http())
            .cancel(CancelLayer::http())
            .circuit_breaker(CircuitBreakerLayer::http())
            .timeout(TimeoutLayer::http(Duration::from_secs(60)))
            .retry(RetryLayer::http())
            .attempt_timeout(TimeoutLayer::http_attempt(Duration::from_secs(10)))
    }
}
