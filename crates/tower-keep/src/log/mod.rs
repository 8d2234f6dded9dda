//! Logging: one record for each event of a job, to tracing or to a sink of your own.
//!
//! [`LogLayer::new`] writes to [`tracing`], under the target `tower_keep::log`. [`LogLayer::to`]
//! writes to another sink: an [`Observer`](crate::Observer), such as a closure.
//!
//! | level | events, by their [names](crate::EventKind::name) |
//! |---|---|
//! | ERROR | `failed` |
//! | WARN | `timed_out`, `retry_scheduled`, `circuit_opened` |
//! | INFO | `dispatched`, `succeeded`, `cancelled`, `circuit_half_opened`, `circuit_closed`, `circuit_would_reject`, `retry_given_up` |
//! | DEBUG | `started`, `progress`, `step_started`, `step_succeeded`, `attempt_ended`, `retrying`, `duplicate`, `cache_hit`; `failed` of a job that a gate [rejected](crate::FailureCause::is_rejection); `retry_given_up` because no retries are left or the policy forbids one |
//!
//! A rejected job's record has the message `rejected`; any other failure has `failed`.
//! [`LogLayer::level`] sets the least severe level that is written. [`LogLayer::level_with`]
//! chooses other levels, or switches single events off.
//!
//! # Fields
//!
//! This table calls a kind of record by its message, such as `step succeeded`.
//!
//! | field | records | value |
//! |---|---|---|
//! | `job.id`, `attempt`, `seq` | all | numbers |
//! | `job.name` | of jobs that already have a name | text |
//! | `job.external_id` | of jobs that are already [identified](crate::JobLayer::identified_by) | text |
//! | `job.parent` | of child jobs | number |
//! | `elapsed_ms` | all | time since the job was dispatched |
//! | `step.name`, `step.number`, `step.total` | that belong to a step | text, numbers |
//! | `fraction`, `text`, `done`, `steps` | `progress` | of the report: the fraction if the total is known, the message, the current step, the number of steps |
//! | `amount`, `total`, `unit` | `progress` of an amount | numbers; `items` or `bytes` |
//! | `took_ms` | `step succeeded` | duration of the step |
//! | `took_ms`, `outcome` | `attempt ended` | duration of the attempt, and its [outcome](crate::AttemptOutcome) in words |
//! | `max_retries`, `took_ms`, `delay_ms`, `error` | `retry scheduled` | duration of the failed attempt, the wait, the error of the attempt |
//! | `max_retries`, `reason` | `retrying`, `retry given up` | |
//! | `scope`, `limit_name`, `limit_ms`, `dropped` | `timed out` | the name if the limit [has one](crate::TimeoutLayer::named) |
//! | `circuit`, `cooldown_ms`, `cause` | `circuit opened`; the other circuit events have only `circuit` | |
//! | `of`, `joined`, `age_ms`, `stale` | `duplicate`, `cache hit` | |
//! | `cause`, `error` | `failed`, `rejected` | the [cause](crate::FailureCause) in words, the error |
//! | `reason`, `dropped` | `cancelled` | the [reason](crate::CancelReason) in words |
//!
//! With the feature `http`, the records of `LogLayer::http()` have these fields too, by the names of
//! OpenTelemetry:
//!
//! | field | records | value |
//! |---|---|---|
//! | `http.request.method` | all | text: one of the methods that OpenTelemetry knows, or `_OTHER` |
//! | `server.address`, `server.port` | all, if the request names its server | text, number |
//! | `http.response.status_code` | after the response | number, of the server's last response |
//! | `body` | `succeeded`, `failed`, `cancelled` | text: [how](crate::http::body::BodyEnd) the response body ended |
//! | `http.request.resend_count` | from the second attempt on | number: `attempt` - 1 |
//!
//! The status belongs to an attempt. Place this layer inside Retry as well to see the status of each
//! attempt, for example in `retry scheduled`. An attempt without a response has no status, and
//! neither has a response that a layer of this library made. The fields contain no path, no query, no
//! header and no user information.
//!
//! Durations are milliseconds as numbers with a fraction, so they can be summed and compared. A
//! cause, a reason and a scope are the text of their `Display`.
//!
//! # Listeners
//!
//! The layer asks tracing for a listener at each event. So a subscriber that is installed, or
//! raises its level, during a job gets the records from then on. With tracing's feature `log`, the
//! records go to the `log` crate if there is no subscriber. Without any listener no event is built.
//! The HTTP fields are read when this layer is called, and only if there is a listener then. A
//! subscriber that comes later gets the records of that call without them.
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Event, LogLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let service = ServiceBuilder::new()
//!     // `LogLayer::new()` writes to tracing; this one writes to standard output.
//!     .layer(LogLayer::to(|event: &Event| println!("{} {}", event.job, event.kind.name())))
//!     .service(service_fn(|n: u32| async move { Ok::<_, BoxError>(n + 1) }));
//! assert_eq!(service.oneshot(1).await.unwrap(), 2);
//! # });
//! ```
//!
//! # Place in the order
//!
//! Outermost, so that its job covers everything. It sees the same events anywhere in the stack,
//! because all layers share the job. A call that an outer layer rejects has no job to log.
//!
//! # Error texts
//!
//! A failure is logged as the error with its causes, limited in length, and without secrets in
//! URLs: see [`describe_error`](crate::describe_error). For any error type the layers use
//! `Display`. Causes are added if the error comes from a layer that fails with a
//! [`BoxError`](crate::BoxError): Timeout, CircuitBreaker, Dedup or Cancel inside this layer, in
//! its default mode. For other errors and for responses, a classifier provides the text:
//! [`Classify::describe`](crate::Classify::describe). Give the same classifier to Log,
//! CircuitBreaker and Retry.
//!
//! If [`classify`](LogLayer::classify) calls a response a failure, the job fails for every
//! observer. If it calls a response a success, the job succeeds, even with the response of a time
//! limit inside. If it [ignores](crate::Outcome::Ignored) a response, the layers inside decide: the
//! job fails if Retry gave up on that response, for example. A gate's rejection stays a rejection,
//! unless a layer or classifier [recovered](crate::reject::recovered) from it.
//!
//! # Errors
//!
//! None of its own: `type Error` is the inner service's, which must be `Display` to be logged.
//!
//! # Cancel safety
//!
//! A dropped call is logged as cancelled, with the reason `CallerGone`.
//!
//! # Under axum
//!
//! Works with `Router::layer` directly.

#[cfg(not(feature = "http"))]
mod fields;
#[cfg(feature = "http")]
pub(crate) mod fields;
mod future;
mod layer;
mod level;
mod service;
mod sink;
mod tracing_sink;

pub use self::{future::ResponseFuture, layer::LogLayer, level::level_of, service::Log};
pub use tracing::Level;
