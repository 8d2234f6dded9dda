use std::{
    any::{Any, TypeId},
    hash::Hash,
    sync::Arc,
};

use super::{
    kept::{Asked, Entry},
    keys::Keys,
};
use crate::event::JobId;

/// Holds a key; it is free when this is dropped.
pub(super) struct Lead<K: Clone + Eq + Hash> {
    pub(super) keys: Arc<Keys<K>>,
    pub(super) key: (K, TypeId),
    pub(super) id: u64,
}

impl<K: Clone + Eq + Hash> Lead<K> {
    /// Keeps what came out, unless the key was invalidated meanwhile.
    pub(super) fn keep(&self, response: Arc<dyn Any + Send + Sync>, asked: Asked) {
        let key = self.key.clone();
        let gone = {
            let mut marked = self.keys.marked();
            let of = match marked.map.get_mut(&self.key) {
                Some(mark) if mark.id == self.id => {
                    mark.renews = false;
                    mark.job
                }
                _ => return,
            };
            let entry = Entry {
                response,
                of,
                at: asked.now,
            };
            marked.kept.put(key, entry, asked)
        };
        drop(gone);
    }

    /// Names the job that executes the key, where it was begun after the key was marked.
    pub(super) fn set_job(&self, job: JobId) {
        let mut marked = self.keys.marked();
        if let Some(mark) = marked
            .map
            .get_mut(&self.key)
            .filter(|mark| mark.id == self.id)
        {
            mark.job = Some(job);
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for Lead<K> {
    fn drop(&mut self) {
        self.keys.unmark(&self.key, self.id);
    }
}
