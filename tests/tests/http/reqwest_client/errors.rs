//! The layers' errors next to reqwest's own.

use axum::{Router, routing::get};
use reqwest::{Method, Request};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, LogLayer, RetryLayer, TimeoutLayer,
    cancel::Cancelled, circuit_breaker::Open, dedup::Duplicate, timeout::Elapsed,
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{SOON, Server, all_ended, bounded, refusing, reqwest_client};

use super::{dedup_key, request};

/// One flat enum for the layers and for reqwest's own error.
#[tokio::test]
async fn one_flat_enum_of_errors() {
    #[derive(Debug, thiserror::Error)]
    enum FetchError {
        #[error(transparent)]
        Http(#[from] reqwest::Error),
        #[error("too slow")]
        TooSlow(Elapsed),
        #[error("unavailable")]
        Unavailable(Open),
        #[error("in flight")]
        InFlight(Duplicate),
        #[error("stopped")]
        Stopped(Cancelled),
    }

    bounded(async {
        let silent = Server::silent().await;
        let server = Server::axum(Router::new().route("/", get(|| async { "well" }))).await;
        let seen = Recorder::new();
        let cancel = CancelLayer::new().fail_with(FetchError::Stopped);
        let circuit = CircuitBreakerLayer::new()
            .failure_threshold(0)
            .fail_with(FetchError::Unavailable);
        let handle = circuit.handle();
        let stop = cancel.handle();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(cancel)
            .layer(DedupLayer::new(dedup_key).fail_with(FetchError::InFlight))
            .layer(circuit)
            .layer(
                TimeoutLayer::none()
                    .limit_by(|request: &Request| request.timeout().copied())
                    .fail_with(FetchError::TooSlow),
            )
            .layer(
                RetryLayer::new()
                    .max_retries(1)
                    .base_delay(SOON)
                    .should_retry(|error: &reqwest::Error| error.is_connect())
                    .clone_with(tower_keep_tests::servers::repeat),
            )
            .service(reqwest_client());

        let response = client.clone().oneshot(request(&server, "/")).await;
        assert_eq!(response.unwrap().text().await.unwrap(), "well");

        let (_socket, addr) = refusing();
        let url = format!("http://{addr}/");
        let request_refused = Request::new(Method::GET, url.parse().unwrap());
        let error = client.clone().oneshot(request_refused).await.unwrap_err();
        assert!(matches!(&error, FetchError::Http(error) if error.is_connect()));
        assert_eq!(seen.count("retrying"), 1);

        let error = client.clone().oneshot(request(&server, "/")).await;
        assert!(
            matches!(&error, Err(FetchError::Unavailable(_))),
            "{error:?}"
        );
        handle.force_closed();

        let pending = client.clone().oneshot(request(&silent, "/"));
        let again = client.clone().oneshot(request(&silent, "/"));
        let pending = tokio::spawn(pending);
        seen.until(|seen| seen.count("started") == 3).await;
        let error = again.await;
        assert!(matches!(&error, Err(FetchError::InFlight(_))), "{error:?}");
        assert_eq!(stop.cancel_all(CancelReason::Shutdown), 1);
        let error = pending.await.unwrap();
        assert!(matches!(&error, Err(FetchError::Stopped(_))), "{error:?}");
        all_ended(&seen, 5).await;
    })
    .await;
}
