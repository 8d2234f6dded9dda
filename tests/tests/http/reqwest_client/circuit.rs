//! Servers that are down, and come back.

use axum::{Router, routing::get};
use http::StatusCode;
use reqwest::{Method, Request};
use tower::ServiceExt;
use tower_keep::{
    EventKind, FailureCause,
    circuit_breaker::{Open, State},
    find,
};
use tower_keep_tests::servers::{
    Background, Count, LONG, Server, all_ended, bounded, cause, refusing,
};

use super::{client, request};

/// Refused connections open the circuit; while it is open nothing is connected to; and once the
/// server is up a probe closes it. reqwest's own error stays within reach.
#[tokio::test]
async fn refused_connections_open_the_circuit() {
    bounded(async {
        let (socket, addr) = refusing();
        let to = || Request::new(Method::GET, format!("http://{addr}/").parse().unwrap());
        let (client, keep) = client(LONG);
        for _ in 0..2 {
            let error = client.clone().oneshot(to()).await.unwrap_err();
            assert!(find::<reqwest::Error>(&*error).unwrap().is_connect());
            let io = find::<std::io::Error>(&*error).unwrap();
            assert_eq!(io.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        assert_eq!(keep.circuit.state(), State::Open);
        keep.circuit.force_open();
        let error = client.clone().oneshot(to()).await.unwrap_err();
        let open = find::<Open>(&*error).unwrap();
        assert_eq!((open.circuit(), open.remaining()), ("upstream", None));

        let listener = socket.listen(8).unwrap();
        let app = Router::new().route("/", get(|| async { "up" }));
        let _server = Background::spawn(async move { axum::serve(listener, app).await.unwrap() });
        keep.circuit.reset();
        let response = client.oneshot(to()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "up");
        let endings = all_ended(&keep.seen, 4).await;
        assert_eq!(cause(endings[2].clone()), FailureCause::CircuitOpen);
        assert_eq!(endings[3], EventKind::Succeeded);
    })
    .await;
}

/// 503s open the circuit, which after its cooldown lets one probe through and closes when that goes
/// well.
#[tokio::test]
async fn a_circuit_recovers() {
    bounded(async {
        let requests = Count::default();
        // Two jobs of three attempts each.
        let server = Server::axum(Router::new().route("/", requests.fails_first(6))).await;
        let (client, keep) = client(LONG);
        for _ in 0..2 {
            let response = client.clone().oneshot(request(&server, "/")).await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(keep.seen.count("circuit_opened"), 1);
        while let Some(wait) = keep.circuit.snapshot().time_until_probe {
            tokio::time::sleep(wait).await;
        }
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "7");
        assert_eq!(keep.circuit.state(), State::Closed);
        let probe = keep.seen.jobs()[2];
        keep.seen.assert_names_of(
            probe,
            [
                "dispatched",
                "circuit_half_opened",
                "started",
                "attempt_ended",
                "circuit_closed",
                "succeeded",
            ],
        );
    })
    .await;
}
