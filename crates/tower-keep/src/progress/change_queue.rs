//! The queue of changes that one reader has not read: the latest view of each job. Pure.

use std::{collections::BTreeMap, sync::Arc};

use super::JobView;
use crate::event::JobId;

/// The unread changes of one reader: one view of each job, in reading order.
///
/// A job keeps the position of its oldest unread change, and shows its latest state there. Sorted
/// by the latest change, a job that reports constantly would starve the others. An ending gets a
/// new position, because it is the job's last change. So endings are read in the order in which
/// they happened, after everything before them.
#[derive(Debug, Default)]
pub(super) struct ChangeQueue {
    views: BTreeMap<u64, Arc<JobView>>,
    places: BTreeMap<JobId, u64>,
    next_place: u64,
}

impl ChangeQueue {
    pub(super) fn put(&mut self, view: &Arc<JobView>) {
        let known = self.places.get(&view.job).copied();
        let place = match known {
            Some(place) if !view.state.is_terminal() => place,
            Some(place) => {
                self.views.remove(&place);
                self.last_place(view.job)
            }
            None => self.last_place(view.job),
        };
        self.views.insert(place, Arc::clone(view));
    }

    fn last_place(&mut self, job: JobId) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(job, place);
        place
    }

    pub(super) fn take(&mut self) -> Option<Arc<JobView>> {
        let (_, view) = self.views.pop_first()?;
        self.places.remove(&view.job);
        Some(view)
    }

    pub(super) fn len(&self) -> usize {
        self.views.len()
    }
}
