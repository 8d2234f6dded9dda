//! Listeners of tracing that come and go while a job runs.

use std::sync::{Arc, Mutex};

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{CancelLayer, LogLayer, ProgressLayer};
use tower_keep_test::{Gate, Recorder};
use tower_keep_tests::*;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, span, subscriber::with_default};

/// A subscriber with a level that can be raised, as by `tracing_subscriber::reload`.
#[derive(Clone)]
struct Raised(Lines, Arc<Mutex<LevelFilter>>);

impl Raised {
    fn raise(&self, to: LevelFilter) {
        *self.1.lock().unwrap() = to;
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Subscriber for Raised {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= *self.1.lock().unwrap() && self.0.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(*self.1.lock().unwrap())
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.0.new_span(span)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.event(event);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// R76 A subscriber that comes while a job runs gets the records from then on.
#[tokio::test(start_paused = true)]
async fn a_late_subscriber_gets_what_follows() {
    let gate = Gate::new();
    let waits = gate.clone();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(CancelLayer::new())
        .service(code(move |job, n| {
            let gate = waits.clone();
            async move {
                job.progress(0.1);
                gate.opened().await;
                job.progress(0.9);
                Ok(n)
            }
        }));
    let mut call = Box::pin(service.oneshot(1));
    assert!(futures::poll!(&mut call).is_pending());
    gate.open();
    let lines = Lines::default();
    let polled = with_default(lines.clone(), || {
        futures::FutureExt::now_or_never(&mut call)
    });
    assert_eq!(polled.unwrap().unwrap(), 1);
    assert_eq!(lines.records(), ["DEBUG progress", "INFO succeeded"]);
}

/// R76 A job that began while the level was off is logged from the moment at which the level is
/// raised.
#[tokio::test(start_paused = true)]
async fn a_raised_level_shows_running_jobs() {
    let raised = Raised(Lines::default(), Arc::new(Mutex::new(LevelFilter::OFF)));
    let _guard = tracing::subscriber::set_default(raised.clone());
    let raise = raised.clone();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .service(code(move |job, n| {
            let raise = raise.clone();
            async move {
                job.progress(0.1);
                raise.raise(LevelFilter::INFO);
                job.progress(0.5);
                raise.raise(LevelFilter::TRACE);
                job.progress(0.9);
                Ok(n)
            }
        }));
    service.clone().oneshot(1).await.unwrap();
    assert_eq!(raised.0.records(), ["DEBUG progress", "INFO succeeded"]);
}

/// R76 A subscriber that goes and comes again misses only what happened in between.
#[tokio::test(start_paused = true)]
async fn a_subscriber_that_comes_again_goes_on() {
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .service(code(|job, n| async move {
            for round in 1..=4 {
                job.progress(f64::from(round) / 4.0);
                tokio::task::yield_now().await;
            }
            Ok(n)
        }));
    let lines = Lines::default();
    let mut call = Box::pin(service.oneshot(1));
    let mut done = None;
    for round in 0..5 {
        let mut poll = || futures::FutureExt::now_or_never(&mut call);
        done = if round % 2 == 0 {
            with_default(lines.clone(), poll)
        } else {
            poll()
        };
    }
    assert_eq!(done.unwrap().unwrap(), 1);
    assert_eq!(
        lines.records(),
        [
            "INFO dispatched",
            "DEBUG started",
            "DEBUG progress",
            "DEBUG progress",
            "INFO succeeded"
        ]
    );
    assert!(lines.fields()[2].contains("fraction=0.25"));
    assert!(lines.fields()[3].contains("fraction=0.75"));
}

/// R76 While tracing has no listener, other observers see everything, and a late subscriber what
/// follows.
#[tokio::test(start_paused = true)]
async fn other_observers_miss_nothing() {
    let recorder = Recorder::new();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let lines = Lines::default();
    let listens = lines.clone();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(LogLayer::to(recorder.clone()))
        .layer(progress)
        .service(code(move |job, n| {
            let lines = listens.clone();
            async move {
                job.progress(0.1);
                with_default(lines, || job.progress(0.9));
                Ok(n)
            }
        }));
    service.oneshot(1).await.unwrap();
    recorder.assert_names(["dispatched", "started", "progress", "progress", "succeeded"]);
    recorder.assert_one_terminal_each();
    assert_eq!(board.history().len(), 1);
    assert_eq!(lines.records(), ["DEBUG progress"]);
}
