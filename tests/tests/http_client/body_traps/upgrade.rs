//! Responses that hand the connection over: the call ends at their head.

use http::{Method, Request, Version};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, ServiceExt};
use tower_keep::{BoxError, SendThrough, http::body::BodyEnd::Complete};
use tower_keep_test::http::{Origin, Reply};

use super::{super::origin::clients, Stack};

const HELLO: &str = "hello from the other protocol";

async fn origin() -> Origin {
    let origin = Origin::start().await.unwrap();
    origin.then(Reply::upgrade("greeting", HELLO))
}

/// R84 A 101 ends the job at its head, and hyper's upgrade gets through all layers: the connection
/// is usable while no job runs.
#[tokio::test]
async fn hyper_upgrades() -> Result<(), BoxError> {
    let (origin, stack) = (origin().await, Stack::new());
    let request = Request::get(origin.url("/"))
        .header("connection", "upgrade")
        .header("upgrade", "greeting")
        .body(Full::default())?;
    let api = stack.layer.layer(clients::hyper(Version::HTTP_11));
    let response = api.oneshot(request).await?;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "greeting");
    stack.assert_ended(Some(Complete), "101");
    let mut upgraded = TokioIo::new(hyper::upgrade::on(response).await?);
    let mut greeting = [0; HELLO.len()];
    upgraded.read_exact(&mut greeting).await?;
    assert_eq!(greeting, HELLO.as_bytes());
    stack.recorder.assert_one_terminal_each();
    Ok(())
}

/// R84 The same with reqwest.
#[tokio::test]
async fn reqwest_upgrades() -> Result<(), BoxError> {
    let (origin, stack) = (origin().await, Stack::new());
    let client = clients::reqwest(Version::HTTP_11);
    let api = stack.layer.layer(client.clone());
    let request = client
        .get(origin.url("/"))
        .header("connection", "upgrade")
        .header("upgrade", "greeting");
    let response = request.send_through(&api).await?;
    assert_eq!(response.status(), 101);
    stack.assert_ended(Some(Complete), "101");
    let mut upgraded = response.upgrade().await?;
    let mut greeting = [0; HELLO.len()];
    upgraded.read_exact(&mut greeting).await?;
    assert_eq!(greeting, HELLO.as_bytes());
    Ok(())
}

/// R84 A server that refuses the upgrade sends a body as always, which ends the job.
#[tokio::test]
async fn a_refused_upgrade_has_a_body() -> Result<(), BoxError> {
    let reply = Reply::status(426).body("no");
    let (origin, stack) = (Origin::start().await?.then(reply), Stack::new());
    let request = Request::get(origin.url("/"))
        .header("connection", "upgrade")
        .header("upgrade", "greeting")
        .body(Full::default())?;
    let api = stack.layer.layer(clients::hyper(Version::HTTP_11));
    let response = api.oneshot(request).await?;
    assert!(stack.runs());
    let body = super::read(http_body_util::BodyExt::boxed_unsync(response.into_body())).await;
    assert_eq!(body.bytes, b"no");
    stack.assert_ended(Some(Complete), "426");
    Ok(())
}

/// R84 A 200 to CONNECT ends the job at its head. The tunnel goes on, and here a second call of the
/// same origin goes through it.
#[tokio::test]
async fn a_tunnel() -> Result<(), BoxError> {
    let tunnel = Reply::status(200);
    let inside = Reply::status(200).body("inside").close_connection();
    let (origin, stack) = (
        Origin::start().await?.then(tunnel).then(inside),
        Stack::new(),
    );
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(origin.url("/"))
        .body(Full::default())?;
    let api = stack.layer.layer(clients::hyper(Version::HTTP_11));
    let response = api.oneshot(request).await?;
    assert_eq!(response.status(), 200);
    stack.assert_ended(Some(Complete), "CONNECT");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await?);
    tunnel
        .write_all(b"GET /inside HTTP/1.1\r\nhost: origin\r\n\r\n")
        .await?;
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).await?;
    assert!(answer.ends_with("\r\n\r\ninside"), "{answer}");
    assert_eq!(origin.received()[1].path(), "/inside");
    assert_eq!(origin.connections(), 1);
    stack.recorder.assert_one_terminal_each();
    Ok(())
}
