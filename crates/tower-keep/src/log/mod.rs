//! See what happens: one record for each event of a job.
//!
//! [`LogLayer::new`] writes to [`tracing`], with the job's id, name, attempt and the event's sequence
//! number as fields, and with the step's name, number and total where the event belongs to a
//! [step](crate::Event::step), under the target `tower_keep::log`. [`LogLayer::to`]
//! writes to another sink: an [`Observer`](crate::Observer), such as a closure.
//!
//! | level | events, by their [names](crate::EventKind::name) |
//! |---|---|
//! | ERROR | `failed` |
//! | WARN | `timed_out`, `retry_scheduled`, `circuit_opened` |
//! | INFO | `dispatched`, `succeeded`, `cancelled`, `circuit_half_opened`, `circuit_closed`, `circuit_would_reject`, `retry_given_up` |
//! | DEBUG | `started`, `progress`, `step_started`, `step_succeeded`, `attempt_ended`, `retrying`, `duplicate`, `cache_hit`; `failed` of a job that a gate [rejected](crate::FailureCause::is_rejection); `retry_given_up` for lack of retries, or as the policy forbids it |
//!
//! The record of a job that a gate rejected has the message `rejected`, that of any other failure
//! `failed`. [`LogLayer::level_with`] chooses other levels, or switches single events off, and
//! [`LogLayer::level`] sets the least severe level that is written.
//!
//! # Fields
//!
//! | field | records | value |
//! |---|---|---|
//! | `job.id`, `attempt`, `seq` | all | numbers |
//! | `job.name` | of jobs that have a name by then | text |
//! | `job.external_id` | of jobs that were [identified](crate::JobLayer::identified_by) by then | text |
//! | `job.parent` | of jobs that another job's code began | number |
//! | `elapsed_ms` | all | time since the job was dispatched |
//! | `step.name`, `step.number`, `step.total` | that belong to a step | text, numbers |
//! | `fraction`, `text`, `done`, `steps` | `progress` | of the report: the fraction unless the total is unknown, the message, the step |
//! | `amount`, `total`, `unit` | `progress` of an amount | numbers; `items` or `bytes` |
//! | `took_ms` | `step succeeded` | how long the step took |
//! | `took_ms`, `outcome` | `attempt ended` | how long the attempt took, and [how it ended](crate::AttemptOutcome) in words |
//! | `max_retries`, `took_ms`, `delay_ms`, `error` | `retry scheduled` | how long the failed attempt took, the wait, the attempt's error |
//! | `max_retries`, `reason` | `retrying`, `retry given up` | |
//! | `scope`, `limit_name`, `limit_ms`, `dropped` | `timed out` | the name if the limit [has one](crate::TimeoutLayer::named) |
//! | `circuit`, `cooldown_ms` | `circuit opened`; `circuit` for the other circuit events | |
//! | `of`, `joined`, `age_ms`, `stale` | `duplicate`, `cache hit` | |
//! | `cause`, `error` | `failed`, `rejected` | the [cause](crate::FailureCause) in words, the error |
//! | `reason`, `dropped` | `cancelled` | the [reason](crate::CancelReason) in words |
//!
//! Every time is a number of milliseconds with a fraction, so that it can be summed and compared. A
//! cause, a reason and a scope are the words of their `Display`, as text.
//!
//! # Who listens
//!
//! Each event asks whether tracing has a listener for it: a subscriber that comes, or raises its
//! level, while a job runs gets the records from then on. With tracing's feature `log` the records go
//! to the `log` crate where there is no subscriber. Without any listener no event is built.
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
//! # Its place in the order
//!
//! Outermost, so that its job covers everything. It sees the same events anywhere in the stack, as the job is shared;
//! only what a layer around it rejects before calling it has no job to log.
//!
//! # What it says of a failure
//!
//! The error with its causes, bounded, without the secrets of URLs: see
//! [`describe_error`](crate::describe_error). Of an error type the layers know no more than its
//! `Display`, except where one of them fails with a [`BoxError`](crate::BoxError). So the causes are
//! there if Timeout, CircuitBreaker, Dedup or Cancel stands inside this layer in its default mode.
//! Otherwise, and for responses, a classifier says it: [`Classify::describe`](crate::Classify::describe). Give the same
//! classifier to Log, CircuitBreaker and Retry.
//!
//! A response that [`classify`](LogLayer::classify) calls a failure fails the job, for every
//! observer. Any other response does not, even if a time limit inside answered with it. A gate's
//! rejection remains one, unless somebody [recovered](crate::reject::recovered) from it.
//!
//! # Errors
//!
//! None of its own: `type Error` is the inner service's, which has to be `Display` to be written down.
//!
//! # Cancel safety
//!
//! A dropped call is logged as cancelled, with the reason that the caller went away.
//!
//! # Under axum
//!
//! Goes into `Router::layer` as it is.

mod future;
mod layer;
mod level;
mod service;
mod sink;
mod tracing_sink;

pub use self::{future::ResponseFuture, layer::LogLayer, level::level_of, service::Log};
pub use tracing::Level;
