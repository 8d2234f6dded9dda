//! A job with steps and amounts, which another task shows while it runs.
//! Run it: `cargo run --example progress`

use std::time::Duration;

use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, Job, JobLayer, ProgressLayer, Report, progress::Changes};

async fn list() -> Result<u64, BoxError> {
    sleep(Duration::from_millis(200)).await;
    Ok(8)
}

async fn copy(files: u64) -> Result<(), BoxError> {
    for file in 1..=files {
        sleep(Duration::from_millis(100)).await;
        Job::current().progress(Report::items(file, Some(files)));
    }
    Ok(())
}

async fn back_up(_: ()) -> Result<(), BoxError> {
    let job = Job::current().steps(2);
    let files = job.step("list", list()).await?;
    job.step("copy", copy(files)).await
}

/// Ends when the layer, its services and its handles are gone. Says what it showed last.
async fn show(mut changes: Changes) -> String {
    let mut shown = String::new();
    while let Some(job) = changes.changed().await {
        let step = job.step.map_or(String::new(), |step| format!(", {step}"));
        let mut line = format!("{} {}{step}", job.name, job.state);
        if let Some((done, total)) = job.report.done().zip(job.report.total()) {
            line += &format!(", {done} of {total} files");
        }
        if line != shown {
            println!("{line}");
            shown = line;
        }
    }
    shown
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let progress = ProgressLayer::new();
    let (_no_jobs_yet, changes) = progress.handle().changes();
    let screen = tokio::spawn(show(changes));
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("backup"))
        .layer(progress)
        .service(service_fn(back_up));
    stack.oneshot(()).await?;
    assert_eq!(screen.await?, "backup succeeded");
    Ok(())
}
