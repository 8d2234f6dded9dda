//! Runs a plan.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::join_all;
use tokio::{signal::ctrl_c, task::spawn_blocking};
use tower::ServiceExt;
use tower_keep::cancel::CancelHandle;

use crate::{
    INTERRUPTED,
    download::Done,
    error::FetchError,
    journal::{Journal, Record},
    plan::{Fetch, Plan},
    screen::Screen,
    stack::{self, Settings},
};

/// How a job ended.
pub(crate) struct Ended {
    pub(crate) fetch: Fetch,
    pub(crate) result: Result<Done, FetchError>,
    pub(crate) record: Record,
}

/// How they all ended, in the order in which they were given.
pub(crate) struct Session {
    pub(crate) ended: Vec<Ended>,
    pub(crate) interrupted: bool,
}

pub(crate) async fn run(
    plan: Plan,
    settings: Settings,
    folder: &Path,
) -> Result<Session, reqwest::Error> {
    let screen = Screen::new();
    let journal = Arc::new(Journal::new(screen.clone()));
    let stack = stack::build(plan.hosts, settings, folder, Arc::clone(&journal))?;

    let interrupted = Arc::new(AtomicBool::new(false));
    tokio::spawn(heed_ctrl_c(
        stack.cancel,
        screen.clone(),
        Arc::clone(&interrupted),
    ));
    let show = tokio::spawn(screen.clone().show(stack.progress));

    // In one task, so that the jobs begin in the order given. Their work is waiting, above all.
    let calls = plan.fetches.iter().map(|fetch| {
        let service = stack.service.clone();
        service.oneshot(fetch.clone())
    });
    let results = join_all(calls).await;

    show.abort();
    // It may be drawing; an aborted task is its own kind of error.
    let _ = show.await;
    screen.clear();

    let ended = plan.fetches.into_iter().zip(results);
    Ok(Session {
        ended: ended
            .map(|(fetch, result)| Ended {
                record: journal.of(&fetch.job),
                fetch,
                result,
            })
            .collect(),
        interrupted: interrupted.load(Ordering::Relaxed),
    })
}

/// The first Ctrl-C cancels all jobs, which then end at once, each with its line. A second one
/// waits for nothing.
async fn heed_ctrl_c(cancel: CancelHandle, screen: Screen, interrupted: Arc<AtomicBool>) {
    if ctrl_c().await.is_err() {
        // No signals here: nothing to heed.
        return;
    }
    interrupted.store(true, Ordering::Relaxed);
    // On a thread of its own, as writing a line may take for ever where nobody reads.
    spawn_blocking(move || {
        screen.line("Interrupted: cancelling what runs and what waits. Once more to exit at once.");
        cancel.shutdown_now();
    });
    if ctrl_c().await.is_ok() {
        std::process::exit(INTERRUPTED.into());
    }
}
