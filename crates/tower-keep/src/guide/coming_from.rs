//! What you know from another library, and what it is called here.
//!
//! - [reqwest-middleware and reqwest-retry](#reqwest-middleware-and-reqwest-retry)
//! - [tower and tower-http](#tower-and-tower-http)
//! - [tower-resilience](#tower-resilience)
//! - [backon](#backon)
//! - [Polly and resilience4j](#polly-and-resilience4j)
//!
//! # reqwest-middleware and reqwest-retry
//!
//! With the feature `reqwest-0-13`, [`Pipeline::http_client`](crate::Pipeline::http_client) is the
//! whole stack, and [`send_through`](crate::SendThrough::send_through) sends a request of reqwest's
//! builder through it. `ClientWithMiddleware` is a tower service too, so a stack can go around it.
//!
//! | there | here |
//! |---|---|
//! | `ClientBuilder::new(client).with(middleware)` | `ServiceBuilder::new().layer(layer).service(client)`; the first layer is the outermost |
//! | a `Middleware` of your own | `map_request`, `and_then`, `then` of `ServiceBuilder`, or a `Service` |
//! | `RetryTransientMiddleware`, `ExponentialBackoff` | [`RetryLayer::http`](crate::RetryLayer::http), which has a budget and reads `Retry-After` |
//! | `RetryableStrategy` | the table of [`RetryLayer::http`](crate::RetryLayer::http), [`retry_status`](crate::RetryLayer::retry_status), [`decide_with`](crate::RetryLayer::decide_with) |
//! | a request that cannot be cloned fails | its body is recorded up to 64 KiB; above, it is sent once |
//! | every method is retried | idempotent methods, and requests that never reached the server |
//! | `TracingMiddleware` of reqwest-tracing | [`LogLayer::http`](crate::LogLayer::http) |
//!
//! # tower and tower-http
//!
//! | there | here |
//! |---|---|
//! | `tower::timeout::TimeoutLayer` | [`TimeoutLayer`](crate::TimeoutLayer), which says which limit expired; an overall limit also stops the retries around it |
//! | `tower::retry::Policy`, which returns a future | [`Policy`](crate::retry::Policy), which returns a [`Decision`](crate::retry::Decision); the layer waits |
//! | `TpsBudget` | [`RetryBudget`](crate::retry::RetryBudget) |
//! | `Buffer`, `ConcurrencyLimit`, `LoadShed`, `RateLimit`, `Hedge` | the same: they compose with these layers |
//! | tower-http's `TimeoutLayer` | `TimeoutLayer` with [`respond_with`](crate::TimeoutLayer::respond_with) |
//! | tower-http's `TraceLayer` | keep it for spans of requests; [`LogLayer`](crate::LogLayer) logs the job: retries, limits, circuits, its end |
//! | `SetRequestIdLayer` | keep it, and read the header in [`JobLayer::identified_by`](crate::JobLayer::identified_by) |
//! | `CatchPanicLayer` | keep it, outside these layers: a panic ends the job as failed and goes on to the caller |
//!
//! # tower-resilience
//!
//! | there | here |
//! |---|---|
//! | `TimeLimiterLayer` | [`TimeoutLayer`](crate::TimeoutLayer) |
//! | `CircuitBreakerLayer::builder()`, `failure_rate_threshold`, `sliding_window_size`, `wait_duration_in_open`, `permitted_calls_in_half_open` | [`CircuitBreakerLayer::new`](crate::CircuitBreakerLayer::new), `failure_rate`, `window`, `cooldown`, `half_open_probes` with `half_open_successes` |
//! | `RetryLayer::builder()`, `max_attempts(4)` | [`RetryLayer::new`](crate::RetryLayer::new), `max_retries(3)` |
//! | `CoalesceLayer` | [`DedupLayer::join`](crate::DedupLayer::join) |
//! | `CacheLayer` | [`DedupLayer::join`](crate::DedupLayer::join) and `cache` |
//! | `BulkheadLayer`, `RateLimiterLayer`, `HedgeLayer` | tower's `ConcurrencyLimit`, `RateLimit`, `Hedge` |
//! | `FallbackLayer` | `ServiceBuilder::then` |
//! | `ChaosLayer` | `FaultLayer` of tower-keep-test |
//! | `ResilienceError<E>` | [`BoxError`](crate::BoxError) with a typed reason, which [`find`](crate::find) finds; or your own error, with `fail_with` |
//!
//! # backon
//!
//! A retry wraps a service, not a closure. `tower::service_fn` makes a service of a closure.
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, RetryLayer, retry::Jitter};
//!
//! async fn fetch(page: u32) -> Result<String, BoxError> {
//!     Ok(format!("page {page}"))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // fetch.retry(ExponentialBuilder::default().with_jitter().with_max_times(3))
//! //     .when(|error| error.is::<std::io::Error>())
//! let fetch = ServiceBuilder::new()
//!     .layer(RetryLayer::new().jitter(Jitter::Equal).should_retry(|error: &BoxError| error.is::<std::io::Error>()))
//!     .service(service_fn(fetch));
//! assert_eq!(fetch.oneshot(7).await.unwrap(), "page 7");
//! # });
//! ```
//!
//! | there | here |
//! |---|---|
//! | `with_min_delay`, `with_max_delay` | `base_delay`, `max_delay` |
//! | `with_factor` | the factor is 2; for another one, [`Backoff::custom`](crate::retry::Backoff::custom) |
//! | `with_jitter`, which lengthens the wait | [`jitter`](crate::RetryLayer::jitter), which shortens it |
//! | `with_max_times` | [`max_retries`](crate::RetryLayer::max_retries) |
//! | `with_total_delay`, the sum of the waits | [`max_total_time`](crate::RetryLayer::max_total_time), of waits and attempts |
//! | `when` | [`should_retry`](crate::RetryLayer::should_retry) |
//! | `adjust` | [`retry_after`](crate::RetryLayer::retry_after) |
//! | `notify` | [`LogLayer`](crate::LogLayer), or an [`Observer`](crate::Observer) |
//!
//! # Polly and resilience4j
//!
//! | Polly | resilience4j | here |
//! |---|---|---|
//! | `ResiliencePipelineBuilder` | `Decorators` | `ServiceBuilder`, or [`Pipeline`](crate::Pipeline) |
//! | `FailureRatio` | `failureRateThreshold` | `failure_rate` |
//! | `SamplingDuration` | `slidingWindowSize` | `window` |
//! | `MinimumThroughput` | `minimumNumberOfCalls` | `minimum_calls` |
//! | `BreakDuration` | `waitDurationInOpenState` | `cooldown` |
//! | | `slowCallRateThreshold`, `slowCallDurationThreshold` | `slow_call_rate`, `slow_call_duration` |
//! | | `permittedNumberOfCallsInHalfOpenState` | `half_open_probes` at a time, `half_open_successes` to close |
//! | `CircuitBreakerManualControl` | `transitionToForcedOpenState` | [`CircuitBreakerHandle`](crate::circuit_breaker::CircuitBreakerHandle) |
//! | `ShouldHandle` | `recordExceptions`, `ignoreExceptions` | [`Classify`](crate::Classify) |
//! | `MaxRetryAttempts` | `maxAttempts`, which counts the first one | `max_retries`, which does not |
//! | `UseJitter`, `BackoffType` | `IntervalFunction` | [`Backoff`](crate::retry::Backoff) |
//! | `DelayGenerator` | | [`retry_after`](crate::RetryLayer::retry_after), or a [`Policy`](crate::retry::Policy) |
//! | `TimeoutStrategyOptions` | `TimeLimiter` | [`TimeoutLayer`](crate::TimeoutLayer) |
//! | Hedging, RateLimiter, ConcurrencyLimiter | RateLimiter, Bulkhead | tower's own layers |
//! | Fallback | `withFallback` | `ServiceBuilder::then` |
//! | telemetry | event publishers | [`Observer`](crate::Observer), [`LogLayer`](crate::LogLayer) |
