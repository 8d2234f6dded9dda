//! A job with steps and amounts, which another task shows while it runs. Run it: `cargo run
//! --example progress`

use std::time::Duration;

use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, Job, JobLayer, ProgressLayer, Report, progress::Changes};

async fn list() -> Result<u64, BoxError> {
    sleep(Duration::from_millis(200)).await;
    Ok(8)
}

async fn copy(files: u64) -> Result<(), BoxError> {
    for done in 0..=files {
        Job::current().progress(Report::items(done, Some(files)));
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn back_up(_: ()) -> Result<(), BoxError> {
    let job = Job::current().steps(2);
    let files = job.step("list", list()).await?;
    job.step("copy", copy(files)).await
}

/// Ends when the layer, its services and its handles are gone.
async fn show(mut changes: Changes) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(job) = changes.changed().await {
        let step = job.step.map_or(String::new(), |step| format!(", {step}"));
        let amount = job.report.done().zip(job.report.total());
        let amount = amount.map_or(String::new(), |(done, of)| {
            format!(", {done} of {of} files")
        });
        let line = format!("{} {}{step}{amount}", job.name, job.state);
        println!("{line}");
        lines.push(line);
    }
    lines
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let progress = ProgressLayer::new();
    let (_no_jobs_yet, changes) = progress.handle().changes();
    let screen = tokio::spawn(show(changes));
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("backup"))
        .layer(progress)
        .service(service_fn(back_up));
    stack.oneshot(()).await?;
    let lines = screen.await?;
    assert!(lines.contains(&r#"backup running, step 2 of 2 "copy", 8 of 8 files"#.to_owned()));
    assert_eq!(lines.last().unwrap(), "backup succeeded");
    Ok(())
}
