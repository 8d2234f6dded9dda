//! The broadcast stream of all events of a table's jobs.

use std::sync::{Arc, PoisonError};

use tokio::sync::broadcast;

use crate::{
    event::{Event, Observer},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Receives events only while there are listeners.
pub(crate) struct EventStream {
    events: broadcast::Sender<Event>,
    /// The number of events kept for slow listeners.
    pub(crate) buffer: usize,
    /// Set and cleared under the lock.
    heard: AtomicBool,
    listening: Mutex<()>,
}

impl EventStream {
    pub(crate) fn new(buffer: usize) -> Self {
        Self {
            events: broadcast::Sender::new(buffer),
            buffer,
            heard: AtomicBool::new(false),
            listening: Mutex::new(()),
        }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.events.receiver_count() > 0
    }

    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    pub(crate) fn observer(self: &Arc<Self>) -> Arc<dyn Observer> {
        Arc::clone(self) as _
    }

    /// Adds a listener. `begin` registers the stream with the running jobs, if there was no
    /// listener before. Its result is dropped without the lock.
    pub(crate) fn subscribe<T>(&self, begin: impl FnOnce() -> T) -> broadcast::Receiver<Event> {
        let _dropped_last;
        let _listening = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let receiver = self.events.subscribe();
        // A job that begins after this sees the flag; `begin` finds the others.
        if !self.is_heard() {
            self.heard.store(true, Ordering::Release);
            _dropped_last = begin();
        }
        receiver
    }
}

impl Observer for EventStream {
    fn on_event(&self, event: &Event) {
        if self.is_heard() && self.events.send(event.clone()).is_err() {
            // The last listener left. New jobs need not send events.
            let _listening = self
                .listening
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if self.events.receiver_count() == 0 {
                self.heard.store(false, Ordering::Release);
            }
        }
    }
}
