//! The axum recipe: it answers, logs what failed, and stops in time.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, routing};
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_test::{assert_pending, task};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_keep::{CancelReason, LogLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Connection, LONG, SHORT, SOON, Server, bounded, ended, held, listen, reason, reqwest_client,
};

use super::{
    code::{axum_recipe, bounded_shutdown},
    count, defended, records,
};

/// The axum recipe: a route that fails is turned away, the others go on, and the log says what
/// failed.
#[tokio::test]
async fn axum_with_a_broken_route() {
    bounded(async {
        let (records, _guard) = records();
        let broken = || async { StatusCode::INTERNAL_SERVER_ERROR };
        let routes = Router::new()
            .route("/broken/{id}", routing::get(broken))
            .route("/report", routing::get(axum_recipe::report));
        let (app, _) = axum_recipe::defend(routes, CancellationToken::new(), LONG);
        let server = Server::axum(app).await;
        let mut connection = Connection::open(&server).await;
        let mut statuses = Vec::new();
        for id in 0..8 {
            statuses.push(
                connection
                    .get(&format!("/broken/{id}"))
                    .await
                    .status
                    .as_u16(),
            );
        }
        assert_eq!(statuses, [500, 500, 500, 500, 500, 500, 503, 503]);
        assert_eq!(connection.get("/report").await.status, StatusCode::OK);
        assert_eq!(
            connection.get("/unknown").await.status,
            StatusCode::NOT_FOUND
        );
        // A response may arrive before the server's task has ended its job.
        while count(&records(), "succeeded") < 2 {
            tokio::task::yield_now().await;
        }
        let records = records();
        assert_eq!(count(&records, "ERROR"), 6, "{records}");
        // Once more where the circuit opens: its cause.
        assert_eq!(
            count(&records, "answered 500 Internal Server Error"),
            7,
            "{records}"
        );
        assert_eq!(count(&records, "rejected"), 2, "{records}");
        assert_eq!(count(&records, "succeeded"), 2, "{records}");
    })
    .await;
}

/// The axum recipe answers, and its handle works.
#[tokio::test]
async fn axum() {
    bounded(async {
        let (app, handle) = defended(CancellationToken::new(), LONG);
        let server = Server::axum(app).await;
        let mut connection = Connection::open(&server).await;
        assert_eq!(connection.get("/report").await.status, StatusCode::OK);
        handle.shutdown_now();
        let answer = connection.get("/report").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}

/// Once the axum recipe's token fires, nothing new begins, and what runs has its time to end, but
/// no more.
#[tokio::test(start_paused = true)]
async fn axum_while_it_stops() {
    for (within, then) in [
        (LONG, StatusCode::OK),
        (Duration::ZERO, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let stopping = CancellationToken::new();
        let (app, _) = defended(stopping.clone(), within);
        let call = || {
            let request = http::Request::get("/report").body(Body::empty());
            app.clone().oneshot(request.unwrap())
        };
        let mut running = task::spawn(call());
        assert_pending!(running.poll());
        stopping.cancel();
        let refused = call().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(running.await.unwrap().status(), then, "within {within:?}");
    }
}

/// The axum recipe stops when its token fires.
#[tokio::test]
async fn axum_until_it_stops() {
    bounded(async {
        let (listener, addr) = listen().await;
        let stopping = CancellationToken::new();
        let server = tokio::spawn(axum_recipe::serve(listener, stopping.clone()));
        let answer = Connection::to(addr).await.get("/report").await;
        assert_eq!(answer.status, StatusCode::OK);
        stopping.cancel();
        server.await.unwrap().unwrap();
    })
    .await;
}

/// An app whose response streams what the sender sends.
fn streaming() -> (Router, mpsc::UnboundedSender<&'static str>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let handler = move || async move {
        let receiver = receiver.lock().unwrap().take().expect("one client comes");
        let parts = futures::stream::unfold(receiver, |mut parts| async {
            let part = parts.recv().await?;
            Some((Ok::<_, Infallible>(part), parts))
        });
        Body::from_stream(parts)
    };
    (Router::new().route("/", routing::get(handler)), sender)
}

/// A graceful shutdown waits for a response that streams; with a bound it does not.
#[tokio::test]
async fn axum_while_a_response_streams() {
    bounded(async {
        for within in [LONG, SHORT] {
            let (app, parts) = streaming();
            let (listener, addr) = listen().await;
            let stopping = CancellationToken::new();
            let server = bounded_shutdown::serve_within(listener, app, stopping.clone(), within);
            let server = tokio::spawn(server);
            let request = reqwest_client().get(format!("http://{addr}/"));
            let mut response = request.send().await.unwrap();
            parts.send("first").unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
            stopping.cancel();
            if within == SHORT {
                // The bound ends it, though the stream is open.
                server.await.unwrap().unwrap();
                assert!(!parts.is_closed());
                continue;
            }
            // The server has seen the token: it refuses connections.
            while tokio::net::TcpStream::connect(addr).await.is_ok() {
                tokio::time::sleep(SOON).await;
            }
            parts.send("second").unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "second");
            assert!(!server.is_finished(), "a response streams");
            drop(parts);
            assert_eq!(response.chunk().await.unwrap(), None);
            server.await.unwrap().unwrap();
        }
    })
    .await;
}

/// On HTTP/1 a client that leaves in the middle of its upload does not drop a handler that does not
/// read it; where the upload was read, the client's leaving ends the job.
#[tokio::test]
async fn axum_with_an_unread_upload() {
    // More than the server and the sockets take in without a reader.
    const LENGTH: usize = 64 << 20;

    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let (unread, read) = (held.clone(), held.clone());
        let app = Router::new()
            .route(
                "/unread",
                routing::post(move |upload: Body| async move {
                    let answer = unread.run().await;
                    drop(upload);
                    answer
                }),
            )
            .route(
                "/read",
                routing::post(move |_: axum::body::Bytes| async move { read.run().await }),
            )
            .layer(LogLayer::to(seen.clone()));
        let server = Server::axum(app).await;
        let upload = async |path: &str, length: usize| {
            let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(b"12345").await.unwrap();
            stream
        };
        let left = upload("/unread", LENGTH).await;
        let unread = entries.job().await;
        drop(left);

        let whole = upload("/read", 5).await;
        let read = entries.job().await;
        drop(whole);
        assert_eq!(reason(ended(&seen, read).await), CancelReason::CallerGone);
        assert!(seen.terminal(unread).is_none(), "{seen}");
        held.gate.open();
        ended(&seen, unread).await;
    })
    .await;
}
