//! See what happens: one record for each event of a job.
//!
//! [`LogLayer::new`] writes to [`tracing`], with the job's id, name, attempt and the event's sequence number as
//! fields, and with the step's name, number and total where the event belongs to a [step](crate::Event::step), under the
//! target `tower_keep::log`. Any [`Observer`] can take its place.
//!
//! | level | events, by their [names](EventKind::name) |
//! |---|---|
//! | ERROR | `failed` |
//! | WARN | `timed_out`, `retry_scheduled`, `circuit_opened` |
//! | INFO | `dispatched`, `succeeded`, `cancelled`, `circuit_half_opened`, `circuit_closed`, `circuit_would_reject`, `retry_given_up` |
//! | DEBUG | `started`, `progress`, `step_started`, `step_succeeded`, `retrying`, `duplicate`, `answered_from_kept`; `failed` *as* a duplicate; `retry_given_up` for lack of retries, or as the policy forbids it |
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
//! observer; one that it does not call a failure is none, even if a time limit inside answered with
//! it. A gate's rejection remains one, unless somebody [recovered](crate::reject::recovered) from it.
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

mod tracing_sink;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;
use tracing::level_filters::LevelFilter;

use self::tracing_sink::TracingSink;
use crate::{
    classify::{Classify, ErrorsAsFailures},
    event::{Event, EventKind, FailureCause, GiveUpReason, Observer},
    job::seat::{Joining, LayerId, Seat},
};

mod future;

pub use self::future::ResponseFuture;
pub use tracing::Level;

/// The level at which this event is logged.
#[must_use]
pub fn level_of(kind: &EventKind) -> Level {
    match kind {
        EventKind::Dispatched
        | EventKind::Succeeded
        | EventKind::Cancelled { .. }
        | EventKind::CircuitHalfOpened { .. }
        | EventKind::CircuitWouldReject { .. }
        | EventKind::CircuitClosed { .. } => Level::INFO,
        // The failure that follows says as much.
        EventKind::RetryGivenUp {
            reason: GiveUpReason::Exhausted | GiveUpReason::Forbidden,
            ..
        } => Level::DEBUG,
        EventKind::RetryGivenUp { .. } => Level::INFO,
        // One record at ERROR for every duplicate would drown the others; the caller has the error anyway.
        EventKind::Failed {
            cause: FailureCause::Duplicate,
            ..
        } => Level::DEBUG,
        EventKind::Failed { .. } => Level::ERROR,
        EventKind::RetryScheduled { .. }
        | EventKind::TimedOut { .. }
        | EventKind::CircuitOpened { .. } => Level::WARN,
        EventKind::Started
        | EventKind::Progress(_)
        | EventKind::StepStarted { .. }
        | EventKind::StepSucceeded { .. }
        | EventKind::Retrying { .. }
        | EventKind::Duplicate { .. }
        | EventKind::AnsweredFromKept { .. } => Level::DEBUG,
    }
}

/// Logs what happens to each job.
#[derive(Clone)]
pub struct LogLayer<C = ErrorsAsFailures> {
    /// `None` is switched off.
    sink: Option<Arc<dyn Observer>>,
    /// The sink as it was given, for another level.
    given: Option<Arc<dyn Observer>>,
    /// Nothing below this level is logged.
    level: LevelFilter,
    /// Whether the sink is tracing's, which may have nobody listening.
    to_tracing: bool,
    classify: C,
}

impl LogLayer {
    /// Writes to [`tracing`], at every level.
    #[must_use]
    pub fn new() -> Self {
        let sink: Arc<dyn Observer> = Arc::new(TracingSink {
            level: LevelFilter::TRACE,
        });
        Self {
            sink: Some(Arc::clone(&sink)),
            given: Some(sink),
            level: LevelFilter::TRACE,
            to_tracing: true,
            classify: ErrorsAsFailures,
        }
    }

    /// Writes to this sink instead. A panic in it never harms a job.
    #[must_use]
    pub fn to(sink: impl Observer + 'static) -> Self {
        let sink: Arc<dyn Observer> = Arc::new(sink);
        Self {
            sink: Some(Arc::clone(&sink)),
            given: Some(sink),
            level: LevelFilter::TRACE,
            to_tracing: false,
            classify: ErrorsAsFailures,
        }
    }

    /// Writes nothing, and begins no job: the call goes straight to the inner service.
    #[must_use]
    pub fn off() -> Self {
        Self {
            sink: None,
            given: None,
            level: LevelFilter::OFF,
            to_tracing: false,
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
    pub fn level(mut self, level: Level) -> Self {
        let level = LevelFilter::from_level(level);
        self.sink = self.given.clone().map(|sink| -> Arc<dyn Observer> {
            if self.to_tracing {
                Arc::new(TracingSink { level })
            } else {
                Arc::new(Filtered { level, sink })
            }
        });
        self.level = level;
        self
    }

    /// What else counts as a failure: the job then ends as failed even though its result is `Ok`, for every observer.
    /// An error is one in any case. Default: errors only.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> LogLayer<D>
    where
        D: Classify<Response, Error>,
    {
        LogLayer {
            sink: self.sink,
            given: self.given,
            level: self.level,
            to_tracing: self.to_tracing,
            classify,
        }
    }
}

impl<C> fmt::Debug for LogLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer")
            .field("off", &self.sink.is_none())
            .field("level", &self.level)
            .finish()
    }
}

/// Passes on what is at least this severe.
struct Filtered {
    level: LevelFilter,
    sink: Arc<dyn Observer>,
}

impl Observer for Filtered {
    fn on_event(&self, event: &Event) {
        if level_of(&event.kind) <= self.level {
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
        let Some(sink) = &layer.sink else {
            let (seat, future) = Seat::call(|| self.inner.call(request));
            return ResponseFuture::new(seat, future, layer.classify.clone());
        };
        // Where tracing has no listener the job need not be told of this observer at all.
        let heard = !layer.to_tracing || LevelFilter::current() != LevelFilter::OFF;
        let joining = Joining {
            observer: heard.then_some(sink),
            layer: self.id,
        };
        let (seat, future) = Seat::track(&joining, || self.inner.call(request));
        ResponseFuture::new(seat, future, layer.classify.clone())
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
