//! An axum app behind Log, Cancel and Timeout: an answer, a time limit, and a shutdown that waits
//! for a running job. Run it: `cargo run --example axum`

use std::{future::pending, time::Duration};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_keep::{BoxError, CancelLayer, JobLayer, LogLayer, TimeoutLayer};

static REPORT_RUNS: Notify = Notify::const_new();

async fn report() -> &'static str {
    REPORT_RUNS.notify_one();
    sleep(Duration::from_millis(300)).await;
    "the report"
}

fn app(stopping: CancellationToken) -> Router {
    let cancel = CancelLayer::new().shutdown_on(stopping, Duration::from_secs(10));
    let limit = TimeoutLayer::new(Duration::from_secs(1));
    // As they answer instead of failing, the layers go into the router as they are.
    let layers = ServiceBuilder::new()
        .layer(JobLayer::named_by(|request: &Request| {
            request.uri().path().to_owned()
        }))
        .layer(LogLayer::new())
        .layer(cancel.respond_with(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()))
        .layer(limit.respond_with(|_| StatusCode::GATEWAY_TIMEOUT.into_response()));
    Router::new()
        .route("/hello", get("hello"))
        .route("/stuck", get(pending::<String>))
        .route("/report", get(report))
        .layer(layers)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().without_time().init();
    let stopping = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let server = axum::serve(listener, app(stopping.clone()))
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());

    let client = reqwest::Client::builder().no_proxy().build()?;
    let get = |path| client.get(format!("{origin}{path}")).send();
    assert_eq!(get("/hello").await?.text().await?, "hello");
    assert_eq!(get("/stuck").await?.status(), StatusCode::GATEWAY_TIMEOUT);

    let report = tokio::spawn(get("/report"));
    REPORT_RUNS.notified().await;
    stopping.cancel(); // while it runs
    assert_eq!(report.await??.text().await?, "the report");
    Ok(server.await??)
}
