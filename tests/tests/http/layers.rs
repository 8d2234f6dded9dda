//! What the servers' and clients' tests put into their layers, and what they expect of them.

use std::{convert::Infallible, time::Duration};

use axum::response::Response as AxumResponse;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower_keep::{
    CancelLayer, CancelReason, EventKind, FailureCause, Outcome, ProgressLayer,
    cancel::{CancelHandle, Cancelled},
    circuit_breaker::{CircuitBreakerHandle, Open},
    dedup::Duplicate,
    progress::ProgressHandle,
    timeout::Elapsed,
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Connection, Entries, Held, LONG, SOON, Server, all_ended, cause, get_with, reason,
};

/// What a test keeps of its layers.
pub(crate) struct Keep {
    pub(crate) seen: Recorder,
    pub(crate) progress: ProgressHandle,
    pub(crate) cancel: CancelHandle,
    pub(crate) circuit: CircuitBreakerHandle,
}

impl Keep {
    /// With a recorder of its own, for the log.
    pub(crate) fn new<G, O, H>(
        progress: &ProgressLayer,
        cancel: &CancelLayer<G, O, H>,
        circuit: CircuitBreakerHandle,
    ) -> Self {
        Self {
            seen: Recorder::new(),
            progress: progress.handle(),
            cancel: cancel.handle(),
            circuit,
        }
    }

    /// Waits until no handle has a job left, and asserts that none had to be cancelled.
    ///
    /// A job's observers learn of its end one after the other, and the table of running jobs before
    /// them all. On several threads each of them may know what another does not know yet.
    pub(crate) async fn assert_nothing_is_left(&self) {
        let shutdown = self.cancel.shutdown(LONG).await;
        assert_eq!((shutdown.cancelled, shutdown.cancelled_otherwise), (0, 0));
        assert!(self.cancel.jobs().is_empty());
        while !self.progress.jobs().is_empty() {
            tokio::time::sleep(SOON).await;
        }
    }
}

pub(crate) fn server_errors<B, E>(result: &Result<Response<B>, E>) -> Outcome {
    match result {
        Ok(response) if !response.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

/// As `server_errors`, for reqwest's own type of response.
pub(crate) fn upstream_errors<E>(result: &Result<reqwest::Response, E>) -> Outcome {
    match result {
        Ok(response) if !response.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

pub(crate) fn idempotency_key<B>(request: &Request<B>) -> Option<String> {
    let key = request.headers().get("idempotency-key")?;
    key.to_str().ok().map(str::to_owned)
}

/// The time limit that a request brings along, in milliseconds.
pub(crate) fn patience<B>(request: &Request<B>) -> Option<Duration> {
    let limit = request.headers().get("x-patience")?.to_str().ok()?;
    limit.parse().ok().map(Duration::from_millis)
}

/// A response that can be cloned.
pub(crate) async fn collect(response: AxumResponse) -> Result<(StatusCode, Bytes), Infallible> {
    let (head, body) = response.into_parts();
    Ok(match axum::body::to_bytes(body, 1 << 20).await {
        Ok(bytes) => (head.status, bytes),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string().into()),
    })
}

/// All seven layers of a server, each answering with a response where it stops a call: `$answer`
/// makes one of a status and a reason, `$repeat` another request like this one.
macro_rules! answering_layers {
    ($answer:ident, $repeat:ident) => {{
        use http::StatusCode;
        use tower::ServiceBuilder;
        use tower_keep::{
            CancelLayer, CircuitBreakerLayer, DedupLayer, LogLayer, ProgressLayer, RetryLayer,
            TimeoutLayer,
        };
        use tower_keep_tests::servers::{LONG, SOON};
        use $crate::layers::{Keep, idempotency_key, patience, server_errors};

        let progress = ProgressLayer::new();
        let cancel =
            CancelLayer::new().respond_with(|why| $answer(StatusCode::SERVICE_UNAVAILABLE, why));
        let circuit = CircuitBreakerLayer::new()
            .named("app")
            .failure_threshold(1)
            .classify(server_errors)
            .respond_with(|why| $answer(StatusCode::SERVICE_UNAVAILABLE, why));
        let keep = Keep::new(&progress, &cancel, circuit.handle());
        let layers = ServiceBuilder::new()
            .layer(LogLayer::to(keep.seen.clone()).classify(server_errors))
            .layer(progress)
            .layer(cancel)
            .layer(
                DedupLayer::new(idempotency_key)
                    .respond_with(|why| $answer(StatusCode::CONFLICT, why)),
            )
            .layer(circuit)
            .layer(
                TimeoutLayer::none()
                    .limit_by(patience)
                    .respond_with(|why| $answer(StatusCode::GATEWAY_TIMEOUT, why)),
            )
            .layer(
                RetryLayer::new()
                    .max_retries(2)
                    .base_delay(SOON)
                    .classify(server_errors)
                    .clone_with($repeat),
            )
            .layer(
                TimeoutLayer::new(LONG)
                    .per_attempt()
                    .respond_with(|why| $answer(StatusCode::GATEWAY_TIMEOUT, why)),
            );
        (layers, keep)
    }};
}

/// All seven layers of a server, with one flat enum of errors.
macro_rules! failing_layers {
    ($repeat:ident) => {{
        use tower::ServiceBuilder;
        use tower_keep::{
            CancelLayer, CircuitBreakerLayer, DedupLayer, LogLayer, ProgressLayer, RetryLayer,
            TimeoutLayer,
        };
        use tower_keep_tests::servers::LONG;
        use $crate::layers::{AppError, Keep, idempotency_key, patience};

        let progress = ProgressLayer::new();
        let cancel = CancelLayer::new().fail_with(AppError::Stopped);
        let circuit = CircuitBreakerLayer::new()
            .named("app")
            .fail_with(AppError::Unavailable);
        let keep = Keep::new(&progress, &cancel, circuit.handle());
        let layers = ServiceBuilder::new()
            .layer(LogLayer::to(keep.seen.clone()))
            .layer(progress)
            .layer(cancel)
            .layer(DedupLayer::new(idempotency_key).fail_with(AppError::InFlight))
            .layer(circuit)
            .layer(
                TimeoutLayer::none()
                    .limit_by(patience)
                    .fail_with(AppError::TooSlow),
            )
            .layer(RetryLayer::new().clone_with($repeat))
            .layer(
                TimeoutLayer::new(LONG)
                    .per_attempt()
                    .fail_with(AppError::TooSlow),
            );
        (layers, keep)
    }};
}

pub(crate) use {answering_layers, failing_layers};

/// One flat enum of the user's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("{0}")]
    TooSlow(Elapsed),
    #[error("{0}")]
    Unavailable(Open),
    #[error("{0}")]
    InFlight(Duplicate),
    #[error("{0}")]
    Stopped(Cancelled),
}

impl From<Infallible> for AppError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl AppError {
    /// Exhaustive: a layer that is added later cannot be forgotten here.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooSlow(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable(_) | Self::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::InFlight(_) => StatusCode::CONFLICT,
        }
    }
}

/// The four answers, 504, 409, 503 and 503, of a server with all layers. Its routes are `/pending`
/// and `/held`.
pub(crate) async fn assert_four_answers(
    server: Server,
    keep: Keep,
    held: Held,
    mut entries: Entries,
) {
    let mut connection = Connection::open(&server).await;

    let answer = connection
        .send(get_with("/pending", "x-patience", "50"))
        .await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.text, "overall time limit of 50ms expired");

    let request = || get_with("/held", "idempotency-key", "k");
    let first = Connection::open(&server).await.spawn(request());
    let job = entries.job().await;
    assert_eq!(keep.progress.jobs()[0].job, job);
    let answer = connection.send(request()).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(keep.cancel.cancel(job));
    let answer = first.await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text, "job cancelled: requested");

    keep.circuit.force_open();
    let answer = connection.get("/held").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text, r#"circuit "app" is open until it is reset"#);
    assert!(entries.is_empty());

    keep.circuit.reset();
    held.gate.open();
    assert_eq!(connection.get("/held").await.status, StatusCode::OK);

    let endings = all_ended(&keep.seen, 5).await;
    assert_eq!(cause(endings[0].clone()), FailureCause::TimedOut);
    assert_eq!(reason(endings[1].clone()), CancelReason::Requested);
    assert_eq!(cause(endings[2].clone()), FailureCause::Duplicate);
    assert_eq!(cause(endings[3].clone()), FailureCause::CircuitOpen);
    assert_eq!(endings[4], EventKind::Succeeded);
}
