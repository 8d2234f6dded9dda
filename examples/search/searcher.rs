//! The service inside the layers: a search on a thread that may block.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tower::{service_fn, util::BoxCloneService};
use tower_keep::Job;

use crate::{error::SearchError, found::Found, query::Ask, stack::Search, walk};

/// Searches `root`, and waits for `slow` before each file.
pub(crate) fn searcher(root: Arc<Path>, slow: Duration) -> impl Search + Clone + Send + 'static {
    // Boxed, as the type of an async block has no name.
    BoxCloneService::new(service_fn(move |ask: Ask| {
        search(Arc::clone(&root), slow, ask)
    }))
}

async fn search(root: Arc<Path>, slow: Duration, ask: Ask) -> Result<Arc<Found>, SearchError> {
    // A thread has no current job, and dropping this future does not stop it: so it takes the job along, looks at it
    // before each file, and stops as soon as nobody wants the result any more.
    let job = Job::current();
    let runtime = Handle::current();
    let pause = {
        let job = job.clone();
        move || {
            if !slow.is_zero() {
                let _ = runtime.block_on(async { timeout(slow, job.cancelled()).await });
            }
        }
    };
    let walk = move || walk::search(&root, &ask.query, &job, pause);
    match spawn_blocking(walk).await {
        Ok(result) => result.map(Arc::new),
        Err(_) => Err(SearchError::Panicked),
    }
}
