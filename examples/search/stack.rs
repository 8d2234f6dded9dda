//! The layers around the search, and why each stands where it does.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tower::{Service, ServiceBuilder};
use tower_keep::{
    CancelLayer, DedupLayer, Event, JobLayer, LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::CancelHandle, progress::ProgressHandle,
};

use crate::{error::SearchError, found::Found, journal::Journal, query::Ask};

/// What can be asked: the search itself, and all that is built around it.
pub(crate) trait Search:
    Service<Ask, Response = Arc<Found>, Error = SearchError, Future: Send + 'static>
{
}

impl<S> Search for S where
    S: Service<Ask, Response = Arc<Found>, Error = SearchError, Future: Send + 'static>
{
}

/// How patient the layers are, and how much they remember.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long a result is kept, and how many are.
    pub(crate) keep: Duration,
    pub(crate) most: NonZeroUsize,
    /// The limit for one search, its retries included.
    pub(crate) limit: Duration,
}

/// A stack, and what it is watched and stopped by.
pub(crate) struct Stack<S> {
    pub(crate) service: S,
    pub(crate) progress: ProgressHandle,
    pub(crate) cancel: CancelHandle,
}

/// What a query becomes, from outside in. It costs nothing to ask: the service is always ready, and each call is one
/// job, which ends as found, replaced, cancelled or failed.
pub(crate) fn build<S>(
    search: S,
    settings: Settings,
    journal: Arc<Journal>,
) -> Stack<impl Search + Clone + use<S>>
where
    S: Search + Clone + Send + 'static,
{
    let progress = ProgressLayer::new();
    let cancel = CancelLayer::new()
        // There is one search box, so one group: only the latest query counts. A server would use the id of the user's
        // box here. But there an equal query takes the running work over only where the task that makes the
        // newer call polls the older one too. Else the older may leave before the newer joins, and the work begins again.
        .replace(|_: &Ask| Some("the box"))
        .fail_with(SearchError::Cancelled);
    Stack {
        progress: progress.handle(),
        cancel: cancel.handle(),
        service: ServiceBuilder::new()
            .layer(JobLayer::named_by(Ask::job))
            // Sees all that happens: the journal knows by it which calls joined or were answered from what is kept.
            .layer(LogLayer::to(move |event: &Event| journal.record(event)))
            // What the status line is bound to.
            .layer(progress)
            .layer(cancel)
            // Inside the replacing, not outside: the new call comes down to here at once, before the one that it
            // replaces is polled again and leaves, as both are in one task. If they ask the same, it joins the running
            // work and takes it over; if not, the old call was the last that wanted its work, which is dropped.
            // (Outside, a query that is answered from what is kept would replace nothing: the old search would run on,
            // and show its late result.)
            .layer(
                // To wait for a pause in the typing, as where each search costs money, `debounce` would go here.
                DedupLayer::new(|ask: &Ask| Some(Arc::clone(&ask.query.words)))
                    .join()
                    .cache(settings.keep)
                    .max_entries(settings.most)
                    .fail_with(SearchError::Duplicate),
            )
            // No circuit breaker: a folder of this machine does not get well by being left alone.
            //
            // Within the joined work, so that the limit is the work's own: whoever takes it over does not prolong it.
            .layer(TimeoutLayer::new(settings.limit).fail_with(SearchError::Timeout))
            // A folder that is about to be mounted, or was just written anew.
            .layer(
                RetryLayer::new()
                    .max_retries(2)
                    .base_delay(Duration::from_millis(200))
                    .should_retry(SearchError::may_pass),
            )
            .service(search),
    }
}
