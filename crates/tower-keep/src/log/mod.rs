//! See what happens: one record for each event of a job.
//!
//! [`LogLayer::new`] writes to [`tracing`], with the job's id, name, attempt and the event's sequence
//! number as fields, and with the step's name, number and total where the event belongs to a
//! [step](crate::Event::step), under the target `tower_keep::log`. Any [`Observer`] can take its place.
//!
//! | level | events, by their [names](crate::EventKind::name) |
//! |---|---|
//! | ERROR | `failed` |
//! | WARN | `timed_out`, `retry_scheduled`, `circuit_opened` |
//! | INFO | `dispatched`, `succeeded`, `cancelled`, `circuit_half_opened`, `circuit_closed`, `circuit_would_reject`, `retry_given_up` |
//! | DEBUG | `started`, `progress`, `step_started`, `step_succeeded`, `retrying`, `duplicate`, `answered_from_kept`; `failed` of a job that a gate [rejected](crate::FailureCause::is_rejection); `retry_given_up` for lack of retries, or as the policy forbids it |
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
//! | `job.parent` | of jobs that another job's code began | number |
//! | `elapsed_ms` | all | time since the job was dispatched |
//! | `step.name`, `step.number`, `step.total` | that belong to a step | text, numbers |
//! | `fraction`, `text`, `done`, `steps` | `progress` | of the report |
//! | `took_ms` | `step succeeded` | how long the step took |
//! | `max_retries`, `delay_ms`, `error` | `retry scheduled` | the wait, the failed attempt's error |
//! | `max_retries`, `reason` | `retrying`, `retry given up` | |
//! | `scope`, `limit_ms`, `dropped` | `timed out` | |
//! | `circuit`, `cooldown_ms` | `circuit opened`; `circuit` for the other circuit events | |
//! | `of`, `joined`, `age_ms`, `stale` | `duplicate`, `answered from kept` | |
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
//! Otherwise, and for responses, a classifier says it: [`Classify::describe`]. Give the same
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
mod level;
mod tracing_sink;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;
use tracing::level_filters::LevelFilter;

use self::{level::Levels, tracing_sink::TracingSink};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    event::{Event, JobId, JobName, Observer},
    job::seat::{Joining, LayerId, Seat},
};

pub use self::{future::ResponseFuture, level::level_of};
pub use tracing::Level;

/// Logs what happens to each job.
#[derive(Clone)]
pub struct LogLayer<C = ErrorsAsFailures> {
    /// `None` is switched off.
    observer: Option<Arc<dyn Observer>>,
    /// Where the records go.
    sink: Sink,
    levels: Levels,
    classify: C,
}

#[derive(Clone)]
enum Sink {
    Off,
    /// It may have no listener.
    Tracing,
    Custom(Arc<dyn Observer>),
}

impl Sink {
    /// What the jobs tell of their events.
    fn observer(&self, levels: &Levels) -> Option<Arc<dyn Observer>> {
        match self {
            Self::Off => None,
            Self::Tracing => Some(Arc::new(TracingSink {
                levels: levels.clone(),
            })),
            Self::Custom(sink) if levels.has_all() => Some(Arc::clone(sink)),
            Self::Custom(sink) => Some(Arc::new(Filtered {
                levels: levels.clone(),
                sink: Arc::clone(sink),
            })),
        }
    }
}

impl LogLayer {
    /// Writes to [`tracing`], at every level.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Sink::Tracing)
    }

    /// Writes to this sink instead. A panic in it never harms a job.
    #[must_use]
    pub fn to(sink: impl Observer + 'static) -> Self {
        Self::with(Sink::Custom(Arc::new(sink)))
    }

    /// Writes nothing, and begins no job: the call goes straight to the inner service.
    #[must_use]
    pub fn off() -> Self {
        Self::with(Sink::Off)
    }

    fn with(sink: Sink) -> Self {
        Self {
            observer: sink.observer(&Levels::ALL),
            sink,
            levels: Levels::ALL,
            classify: ErrorsAsFailures,
        }
    }
}

impl Default for LogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> LogLayer<C> {
    /// The least severe level that is written. Default: all.
    #[must_use]
    pub fn level(self, level: Level) -> Self {
        self.levels(|levels| levels.minimum = LevelFilter::from_level(level))
    }

    /// The level of each event, where it is not to be that of [`level_of`]; `None` is not written.
    ///
    /// The least severe [`level`](Self::level) applies to the level that this closure chooses. A sink
    /// given to [`to`](Self::to) receives the same events that would be written to tracing. The closure
    /// runs once for each event of a job; an event that it panics at is not written.
    ///
    /// ```
    /// use tower_keep::{
    ///     EventKind, LogLayer,
    ///     log::{Level, level_of},
    /// };
    ///
    /// let log = LogLayer::new().level_with(|event| match &event.kind {
    ///     // A rejected job is worth a warning here ..
    ///     EventKind::Failed { cause, .. } if cause.is_rejection() => Some(Level::WARN),
    ///     // .. and a job that begins is worth nothing.
    ///     EventKind::Dispatched => None,
    ///     kind => Some(level_of(kind)),
    /// });
    /// # let _ = log;
    /// ```
    #[must_use]
    pub fn level_with<F>(self, level: F) -> Self
    where
        F: Fn(&Event) -> Option<Level> + Send + Sync + 'static,
    {
        self.levels(|levels| levels.choice = Some(Arc::new(level)))
    }

    fn levels(mut self, change: impl FnOnce(&mut Levels)) -> Self {
        change(&mut self.levels);
        self.observer = self.sink.observer(&self.levels);
        self
    }

    /// What else counts as a failure: the job then ends as failed even though its result is `Ok`, for
    /// every observer. An error is one in any case. Default: errors only.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> LogLayer<D>
    where
        D: Classify<Response, Error>,
    {
        LogLayer {
            observer: self.observer,
            sink: self.sink,
            levels: self.levels,
            classify,
        }
    }
}

impl<C> fmt::Debug for LogLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sink = match self.sink {
            Sink::Off => "off",
            Sink::Tracing => "tracing",
            Sink::Custom(_) => "custom",
        };
        f.debug_struct("LogLayer")
            .field("sink", &format_args!("{sink}"))
            .field("level", &self.levels.minimum)
            .field("level_with", &self.levels.choice.is_some())
            .field("classify", &format_args!("{}", std::any::type_name::<C>()))
            .finish()
    }
}

/// Passes on what is to be logged.
struct Filtered {
    levels: Levels,
    sink: Arc<dyn Observer>,
}

impl Observer for Filtered {
    fn on_named(&self, job: JobId, name: &JobName) {
        self.sink.on_named(job, name);
    }

    fn on_event(&self, event: &Event) {
        if self.levels.level(event).is_some() {
            self.sink.on_event(event);
        }
    }
}

impl<S, C: Clone> Layer<S> for LogLayer<C> {
    type Service = Log<S, C>;

    fn layer(&self, inner: S) -> Log<S, C> {
        Log {
            inner,
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

/// The service that [`LogLayer`] makes.
#[derive(Clone, Debug)]
pub struct Log<S, C = ErrorsAsFailures> {
    inner: S,
    layer: LogLayer<C>,
    id: LayerId,
}

impl<S, C, Request> Service<Request> for Log<S, C>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let Some(observer) = &layer.observer else {
            let (seat, future) = Seat::call(|| self.inner.call(request));
            return ResponseFuture::new(seat, future, layer.classify.clone());
        };
        let joining = Joining {
            observer: Some(observer),
            traced: matches!(layer.sink, Sink::Tracing),
            layer: self.id,
        };
        let (seat, future) = Seat::track(&joining, || self.inner.call(request));
        ResponseFuture::new(seat, future, layer.classify.clone())
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
