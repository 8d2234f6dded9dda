//! The records of the log, as lines.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
};

use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// A subscriber that keeps the level, the message and the fields of each record of the library.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<(Level, String, String)>>>);

impl Lines {
    /// Records what this thread logs until the guard is dropped.
    #[must_use]
    pub fn listen() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, guard)
    }

    /// Each record's level and message.
    #[must_use]
    pub fn records(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(level, message, _)| format!("{level} {message}"))
            .collect()
    }

    /// The fields of each record.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(.., fields)| fields.clone())
            .collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "tower_keep::log"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        #[derive(Default)]
        struct Text(String, String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                } else {
                    let _ = write!(self.1, "{}={value:?} ", field.name());
                }
            }
        }
        let mut text = Text::default();
        event.record(&mut text);
        self.0
            .lock()
            .unwrap()
            .push((*event.metadata().level(), text.0, text.1));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
