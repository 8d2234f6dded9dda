//! The external id of a job. Few jobs have one, so it is part of the details.

use std::sync::Arc;

use super::{Core, Flag, Locked};
use crate::{error::unharmed, error_text::bounded_id};

impl Core {
    /// Whether the job may have an external id. Takes no lock.
    #[inline]
    pub(crate) fn may_be_identified(&self) -> bool {
        self.state().has(Flag::Details)
    }

    pub(crate) fn external_id(&self) -> Option<Arc<str>> {
        match self.may_be_identified() {
            true => self.lock().external_id(),
            false => None,
        }
    }

    /// Whether this is the job's external id, in the form that [`identify`](Self::identify) stores.
    pub(crate) fn is_known_as(&self, external_id: &str) -> bool {
        let known = self.external_id();
        known.is_some_and(|known| &*known == bounded_id(external_id))
    }

    /// Sets the job's external id, unless it has one. Notifies observers that know the job without
    /// it.
    #[cold]
    pub(crate) fn identify(&self, external_id: &Arc<str>) {
        let (id, observers) = {
            let mut job = self.lock();
            let Some(id) = job.identify(external_id) else {
                return;
            };
            (id, job.observers().cloned().collect::<Vec<_>>())
        };
        (self.run_apart)(&mut || {
            for observer in &observers {
                unharmed(|| observer.on_identified(self.id, &id));
            }
        });
        self.changed();
    }
}

impl Locked<'_> {
    pub(super) fn external_id(&self) -> Option<Arc<str>> {
        self.shown.as_ref()?.external_id.clone()
    }

    fn identify(&mut self, external_id: &Arc<str>) -> Option<Arc<str>> {
        let bounded = bounded_id(external_id);
        if bounded.is_empty() {
            return None;
        }
        let shown = self.shown();
        if shown.external_id.is_some() {
            return None;
        }
        let id = match bounded.len() == external_id.len() {
            true => Arc::clone(external_id),
            false => bounded.into(),
        };
        Arc::make_mut(shown).external_id = Some(Arc::clone(&id));
        Some(id)
    }
}
