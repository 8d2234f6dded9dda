//! README: run jobs that outlive their callers.

use std::{num::NonZeroUsize, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use tower::{ServiceBuilder, service_fn, util::BoxCloneSyncService};
use tower_keep::{BoxError, Dispatcher, Job, JobId, RetryLayer, TimeoutLayer};

pub(crate) type Jobs = Dispatcher<BoxCloneSyncService<String, String, BoxError>>;

async fn report(of: String) -> Result<String, BoxError> {
    Job::current().progress(0.5);
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(format!("report of {of}"))
}

/// Begins a job that a client's disconnect does not stop, and says which.
async fn create(State(jobs): State<Jobs>, of: String) -> Result<(StatusCode, String), StatusCode> {
    match jobs.try_dispatch(of) {
        Ok(job) => Ok((StatusCode::ACCEPTED, job.id().to_string())),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn status(State(jobs): State<Jobs>, Path(id): Path<u64>) -> Result<String, StatusCode> {
    let job = JobId::from_u64(id).and_then(|id| jobs.find(id));
    let job = job.ok_or(StatusCode::NOT_FOUND)?;
    Ok(match job.report.fraction() {
        Some(fraction) => format!("{}, {:.0} %", job.state, fraction * 100.0),
        None => job.state.to_string(),
    })
}

async fn cancel(State(jobs): State<Jobs>, Path(id): Path<u64>) -> StatusCode {
    match JobId::from_u64(id) {
        Some(id) if jobs.cancel_handle().cancel(id) => StatusCode::NO_CONTENT,
        _ => StatusCode::NOT_FOUND,
    }
}

/// The routes, and the dispatcher behind them, which runs at most a hundred reports at a time.
pub(crate) fn app() -> (Router, Jobs) {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(600)).per_attempt())
        .service(service_fn(report));
    let jobs = Dispatcher::new(BoxCloneSyncService::new(stack))
        .named("report")
        .limit(const { NonZeroUsize::new(100).unwrap() });
    let app = Router::new()
        .route("/reports", post(create))
        .route("/reports/{id}", get(status).delete(cancel))
        .with_state(jobs.clone());
    (app, jobs)
}
