//! Jobs that outlive their callers: begin them, list them with their progress, cancel one, shut
//! down. Run it: `cargo run --example dispatcher`

use std::time::Duration;

use tokio::time::sleep;
use tower::service_fn;
use tower_keep::progress::{JobState, JobView};
use tower_keep::{BoxError, CancelReason, Dispatcher, Job, Report};

async fn import((_file, rows): (&str, u64)) -> Result<u64, BoxError> {
    for row in 1..=rows {
        sleep(Duration::from_millis(10)).await; // the work
        Job::current().progress(Report::items(row, Some(rows)));
    }
    Ok(rows)
}

fn show(when: &str, jobs: &[JobView]) {
    println!("{when}:");
    for job in jobs {
        let rows = job.report.done().unwrap_or(0);
        println!("  {}, {rows} rows, {}", job.name, job.state);
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Around any stack of layers; here there is none.
    let jobs =
        Dispatcher::new(service_fn(import)).named_by(|(file, _): &(&'static str, u64)| *file);

    let users = jobs.dispatch(("users.csv", 50)).id(); // nobody keeps its handle
    let orders = jobs.dispatch(("orders.csv", 30));
    let visits = jobs.dispatch(("visits.csv", u64::MAX));
    sleep(Duration::from_millis(100)).await;
    show("After 100 ms", &jobs.jobs());

    assert!(visits.cancel());
    assert_eq!(orders.await?, 30);
    show("The orders are there", &jobs.jobs());

    let shutdown = jobs.cancel_handle().shutdown(Duration::from_secs(10)).await;
    assert_eq!(shutdown.cancelled, 0, "the users came to their end");
    show("Shut down", &jobs.progress_handle().history());

    let state = |id| jobs.find(id).map(|job| job.state);
    assert_eq!(state(users), Some(JobState::Succeeded));
    let cancelled = JobState::Cancelled(CancelReason::Requested);
    assert_eq!(state(visits.id()), Some(cancelled));
    Ok(())
}
