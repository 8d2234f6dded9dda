//! All seven layers in the documented order, with settings that fit together.
//!
//! Outermost first: Log, Progress, Cancel, Dedup, CircuitBreaker, Timeout (overall), Retry, Timeout (attempt), service.
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
//! Set the retry as above: its jitter keeps clients that failed together from coming back together, and its budget keeps
//! retries from multiplying the load on a service that is down. [`RetryLayer::new`](crate::RetryLayer::new), the default
//! of the slot, has neither, so that its waits are the documented ones.
//!
//! # In a struct
//!
//! With the defaults, both the layer and its service have a name. A configured one goes into a type parameter, or into
//! a box of tower's.
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
//! [`Identity`] leaves a slot empty: there is no layer, and what its settings would be checked against goes unchecked.
//! The dedup layer's slot is empty until it is set. The pipeline then asks the service whether it is ready, unless the
//! circuit is open, and calls the instance that it asked. With a [`DedupLayer`](crate::DedupLayer) it is always ready,
//! and calls a clone.
//!
//! ```
//! use tower_keep::{Pipeline, pipeline::Identity};
//!
//! // Who calls this logs for itself, and tries again.
//! let pipeline = Pipeline::new().log(Identity::new()).retry(Identity::new()).build().unwrap();
//! # let _ = pipeline;
//! ```
//!
//! What is known only at run time is a setting of the layer: [`level_with`](crate::LogLayer::level_with),
//! [`max_retries`](crate::RetryLayer::max_retries), [`TimeoutLayer::none`](crate::TimeoutLayer::none).
//!
//! A slot takes no layer but its own, and says so:
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
//! Settings that contradict each other are refused, with an error that names both and says what would work:
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
//! | attempt limit <= overall limit, also where either is an idle one | an attempt could never use its limit |
//! | attempt limit and its grace period <= overall limit | the grace period would always be cut short |
//! | overall idle limit <= attempt limit, where that is none | an attempt that begins is progress: the job could never be idle for as long |
//! | sum of the retry's waits < overall limit | the last retry could never begin |
//! | step limit <= attempt limit, overall limit | a step could never use its limit |
//! | probe timeout >= overall limit and its grace period | a slow probe would let more probes through than wanted |
//!
//! Of what a request may override only the layer's own setting is checked, and whether the two limits are an overall
//! one and one of each attempt. Where requests ask for longer than the overall limit, set the probe timeout to match. An idle limit says nothing of how long a job takes, so that with an overall one the waits and the probe
//! timeout go unchecked; another [`TimeoutLayer`](crate::TimeoutLayer) around the pipeline limits that. A probe timeout that is not set is made long enough.
//!
//! The variant with the circuit breaker inside the retry, where it counts attempts, is composed by hand in a
//! `ServiceBuilder`; so is every other order.

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
