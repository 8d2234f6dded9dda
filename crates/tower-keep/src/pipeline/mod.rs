//! All seven layers in the recommended order, with settings that are checked against each other.
//!
//! Outermost first: Log, Progress, Cancel, Dedup, CircuitBreaker, Timeout (overall), Retry, Timeout
//! (attempt), service.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer, Pipeline, RetryLayer, TimeoutLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let pipeline = Pipeline::new()
//!     .dedup(DedupLayer::new(|id: &u64| Some(*id)).join())
//!     .timeout(TimeoutLayer::new(Duration::from_secs(120)))
//!     .retry(RetryLayer::for_clients())
//!     .build()
//!     .unwrap();
//! let circuit = pipeline.circuit_breaker().handle();
//! let service = ServiceBuilder::new()
//!     .layer(pipeline)
//!     .service(service_fn(|id: u64| async move { Ok::<_, BoxError>(id + 1) }));
//! assert_eq!(service.oneshot(1).await.unwrap(), 2);
//! # });
//! ```
//!
//! # In production
//!
//! Set the retry as above. Its jitter spreads the retries of clients that failed together. Its
//! budget keeps retries from multiplying the load on a failing service. A pipeline's default retry,
//! [`RetryLayer::new`](crate::RetryLayer::new), has neither, so its waits are exact.
//!
//! # In a struct
//!
//! With the defaults, the layer and its service have named types. For any other configuration use a
//! type parameter or one of tower's boxes.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
//! use tower_keep::{
//!     BoxError, Pipeline, RetryLayer, TimeoutLayer,
//!     pipeline::{PipelineLayer, PipelineService},
//! };
//!
//! /// All defaults.
//! struct Plain<S> {
//!     layer: PipelineLayer,
//!     service: PipelineService<S>,
//! }
//!
//! /// Any configuration, by a type parameter.
//! struct Client<S> {
//!     service: S,
//! }
//!
//! impl<S: Service<u64, Response = String, Error = BoxError>> Client<S> {
//!     async fn user(&mut self, id: u64) -> Result<String, BoxError> {
//!         self.service.ready().await?.call(id).await
//!     }
//! }
//!
//! /// Any configuration, in a box: one allocation for each call.
//! #[derive(Clone)]
//! struct Boxed {
//!     service: BoxCloneSyncService<u64, String, BoxError>,
//! }
//!
//! /// A configured layer, for any service of users.
//! fn defences<S>() -> impl Layer<S, Service: Service<u64, Response = String, Error = BoxError, Future: Send> + Clone + Send + Sync>
//! where
//!     S: Service<u64, Response = String, Error = BoxError, Future: Send> + Clone + Send + Sync,
//! {
//!     let attempt = TimeoutLayer::new(Duration::from_secs(2)).per_attempt();
//!     Pipeline::new().retry(RetryLayer::for_clients()).attempt_timeout(attempt).build().expect("they fit together")
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let users = service_fn(|id: u64| async move { Ok::<_, BoxError>(format!("user {id}")) });
//!
//! let layer = Pipeline::new().build().expect("the defaults fit together");
//! let plain = Plain { service: layer.layer(users), layer };
//! assert_eq!(plain.service.oneshot(1).await.unwrap(), "user 1");
//!
//! let mut client = Client { service: defences().layer(users) };
//! assert_eq!(client.user(2).await.unwrap(), "user 2");
//!
//! let boxed = Boxed { service: BoxCloneSyncService::new(defences().layer(users)) };
//! assert_eq!(boxed.clone().service.oneshot(3).await.unwrap(), "user 3");
//! # let _ = plain.layer;
//! # });
//! ```
//!
//! # Empty slots
//!
//! A pipeline has a slot for each layer, and [`Identity`] leaves a slot empty: it then has no
//! layer, and no settings to check. The dedup slot is empty by default.
//!
//! Without a [`DedupLayer`](crate::DedupLayer), `poll_ready` asks the inner service, unless the
//! circuit is open, and `call` uses that instance. With a `DedupLayer`, the pipeline is always
//! ready and calls a clone.
//!
//! ```
//! use tower_keep::{Pipeline, pipeline::Identity};
//!
//! // The caller has its own log and its own retry.
//! let pipeline = Pipeline::new().log(Identity::new()).retry(Identity::new()).build().unwrap();
//! # let _ = pipeline;
//! ```
//!
//! For a choice at run time use a setting of the layer:
//! [`level_with`](crate::LogLayer::level_with), [`max_retries`](crate::RetryLayer::max_retries),
//! [`TimeoutLayer::none`](crate::TimeoutLayer::none).
//!
//! A slot takes only its own layer:
//!
//! ```compile_fail,E0277
//! use tower_keep::{Pipeline, TimeoutLayer};
//!
//! // error: the slot `slots::Retry` of a pipeline does not take `TimeoutLayer`
//! let pipeline = Pipeline::new().retry(TimeoutLayer::none());
//! ```
//!
//! # What is checked
//!
//! [`Pipeline::build`] rejects settings that contradict each other. The error names both and says
//! what would work:
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::{Pipeline, TimeoutLayer};
//!
//! let error = Pipeline::new()
//!     .timeout(TimeoutLayer::new(Duration::from_secs(5)))
//!     .attempt_timeout(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
//!     .build()
//!     .unwrap_err();
//! assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
//! ```
//!
//! | checked | why |
//! |---|---|
//! | `timeout` is an overall limit, `attempt_timeout` is one `per_attempt` | swapped, the first slow attempt would end the job |
//! | attempt limit <= overall limit, also for idle limits | an attempt could never use its limit |
//! | attempt limit and its grace period <= overall limit | the grace period would always be cut short |
//! | overall idle limit <= attempt limit, if the attempt limit is not idle | a new attempt is progress: the job could never be idle for that long |
//! | sum of the retry's waits < overall limit | the last retry could never begin |
//! | idle limit of the attempt's response body <= overall limit, if that includes the [body](crate::timeout#http-bodies) | the idle limit could never expire |
//! | step limit <= attempt limit, overall limit | a step could never use its limit |
//! | probe timeout >= overall limit and its grace period | a slow probe would let more probes through than wanted |
//!
//! The check has its limits:
//!
//! - The layer's own limit is checked, but not the limit of a request that overrides it. If
//!   requests may ask for longer than the overall limit, set the probe timeout to match. A probe
//!   timeout that is not set is made long enough.
//! - An idle limit does not bound the duration of a job. With an overall idle limit, the waits and
//!   the probe timeout are not checked. Bound the duration by another
//!   [`TimeoutLayer`](crate::TimeoutLayer) around the pipeline.
//!
//! For any other order, compose the layers in a `ServiceBuilder`. One such order has the circuit
//! breaker inside the retry, where it counts attempts.

mod check;
mod layer;
mod settings;
mod slot;
mod slots;

pub use self::{
    check::PipelineError,
    layer::{PipelineLayer, PipelineService},
    settings::Pipeline,
};
pub use tower_layer::Identity;
