//! `Pipeline::http_client`: the whole stack for an HTTP client.

use super::{
    authority::Authority,
    circuit_breaker::ByAuthority,
    classify::{ServerErrors, ServerFailures},
    log::HttpFields,
    policy::HttpPolicy,
    retry::HttpHooks,
};
use crate::{
    CancelLayer, CircuitBreakerLayer, LogLayer, Pipeline, ProgressLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::per_key::PerKey,
    pipeline::{Identity, PipelineService},
};

/// The pipeline that [`Pipeline::http_client`] makes, to keep it in a struct.
pub type HttpClientPipeline = Pipeline<
    LogLayer<ServerErrors, HttpFields>,
    ProgressLayer,
    CancelLayer,
    Identity,
    CircuitBreakerLayer<ServerFailures, PerKey<ByAuthority, Authority>>,
    TimeoutLayer,
    RetryLayer<HttpPolicy, HttpHooks>,
    TimeoutLayer,
>;

/// The client `S` with [`Pipeline::http_client`] around it.
pub type HttpClient<S> = PipelineService<S, HttpClientPipeline>;

impl Pipeline {
    /// The stack for an HTTP client: safe for production, and a place to begin.
    ///
    /// Outermost first: [`LogLayer::http`], Progress, Cancel, [`CircuitBreakerLayer::http`], 60 s
    /// overall, [`RetryLayer::http`], 10 s for each attempt.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Pipeline};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let client = service_fn(|request: Request<String>| async move {
    ///     Ok::<_, BoxError>(Response::new(request.uri().path().to_owned()))
    /// });
    /// let api = Pipeline::http_client().build()?.layer(client);
    /// let page = api.oneshot(Request::get("https://api.example.com/page").body(String::new())?).await?;
    /// assert_eq!(page.body(), "/page");
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn http_client() -> HttpClientPipeline {
        Self::new()
            .log(LogLayer::http())
            .circuit_breaker(CircuitBreakerLayer::http())
            .retry(RetryLayer::http())
    }
}
