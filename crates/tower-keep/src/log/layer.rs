//! [`LogLayer`] and its settings.

use std::{fmt, sync::Arc};

use tracing::{Level, level_filters::LevelFilter};

use super::{fields::NoFields, level::Levels, sink::Sink};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    event::{Event, Observer},
};

/// Logs the events of each job.
///
/// `LogLayer` without parameter is a layer that classifies errors only. To keep a layer with a
/// classifier in a struct, use a type parameter `C`, or box the stack.
///
/// To log nothing, leave the layer out: with tower's `option_layer`, or in a pipeline with
/// [`Identity`](crate::pipeline::Identity).
#[derive(Clone)]
pub struct LogLayer<C = ErrorsAsFailures, F = NoFields> {
    pub(super) observer: Arc<dyn Observer>,
    /// The destination of the records.
    pub(super) sink: Sink,
    levels: Levels,
    pub(super) classify: C,
    /// What is read from requests and responses.
    pub(super) fields: F,
}

impl LogLayer {
    /// Logs to [`tracing`], at every level.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Sink::Tracing)
    }

    /// Logs to this sink instead: an [`Observer`], such as a closure `Fn(&Event) + Send + Sync`. A
    /// panic of the sink does not harm the job.
    ///
    /// ```compile_fail,E0277
    /// use tower_keep::LogLayer;
    ///
    /// // error: `&str` does not observe events
    /// let log = LogLayer::to("stdout");
    /// ```
    #[must_use]
    pub fn to(sink: impl Observer + 'static) -> Self {
        Self::with(Sink::Custom(Arc::new(sink)))
    }

    fn with(sink: Sink) -> Self {
        Self {
            observer: sink.observer(&Levels::ALL),
            sink,
            levels: Levels::ALL,
            classify: ErrorsAsFailures,
            fields: NoFields,
        }
    }
}

impl Default for LogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, F> LogLayer<C, F> {
    /// Sets the least severe level that is written. Default: all levels.
    #[must_use]
    pub fn level(self, level: Level) -> Self {
        self.levels(|levels| levels.minimum = LevelFilter::from_level(level))
    }

    /// Chooses the level of each event; `None` drops the record. Default:
    /// [`level_of`](super::level_of).
    ///
    /// The least severe [`level`](Self::level) applies to the chosen level. A sink given to
    /// [`to`](Self::to) gets the same events as tracing would. The closure runs once for each event
    /// of a job. If it panics, the event is not written.
    ///
    /// ```
    /// use tower_keep::{
    ///     EventKind, LogLayer,
    ///     log::{Level, level_of},
    /// };
    ///
    /// let log = LogLayer::new().level_with(|event| match &event.kind {
    ///     // A rejected job deserves a warning here ..
    ///     EventKind::Failed { cause, .. } if cause.is_rejection() => Some(Level::WARN),
    ///     // .. and the beginning of a job is not logged.
    ///     EventKind::Dispatched => None,
    ///     kind => Some(level_of(kind)),
    /// });
    /// # let _ = log;
    /// ```
    #[must_use]
    pub fn level_with<L>(self, level: L) -> Self
    where
        L: Fn(&Event) -> Option<Level> + Send + Sync + 'static,
    {
        self.levels(|levels| levels.choice = Some(Arc::new(level)))
    }

    fn levels(mut self, change: impl FnOnce(&mut Levels)) -> Self {
        change(&mut self.levels);
        self.observer = self.sink.observer(&self.levels);
        self
    }

    /// Sets which results count as failures, next to errors. The job then ends as failed for every
    /// observer, even if its result is `Ok`. Default: errors only.
    ///
    /// [`Outcome::Success`](crate::Outcome::Success) makes a response a success, whatever the layers
    /// inside say, unless a gate rejected the call. [`Outcome::Ignored`](crate::Outcome::Ignored)
    /// leaves the decision to them: a response on which Retry gave up fails the job, a response
    /// without any verdict is a success.
    ///
    /// The classifier must fit the results of the inner service:
    ///
    /// ```compile_fail,E0631
    /// use tower::{Layer, Service, service_fn};
    /// use tower_keep::{BoxError, LogLayer, Outcome};
    ///
    /// fn serve<S: Service<u32>>(_: S) {}
    ///
    /// let log = LogLayer::new().classify(|_: &Result<String, BoxError>| Outcome::Success);
    /// // error: type mismatch in closure arguments
    /// serve(log.layer(service_fn(|n: u32| async move { Ok::<_, BoxError>(n) })));
    /// ```
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> LogLayer<D, F>
    where
        D: Classify<Response, Error>,
    {
        LogLayer {
            observer: self.observer,
            sink: self.sink,
            levels: self.levels,
            classify,
            fields: self.fields,
        }
    }

    /// Classifies with `classify`, and reads `fields` from requests and responses.
    #[cfg(feature = "http")]
    pub(crate) fn reading<D, G>(self, classify: D, fields: G) -> LogLayer<D, G> {
        LogLayer {
            observer: self.observer,
            sink: self.sink,
            levels: self.levels,
            classify,
            fields,
        }
    }
}

impl<C, F> fmt::Debug for LogLayer<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sink = match self.sink {
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
