//! The client of hyper-util behind the whole stack, with streamed request bodies: `cargo run -p recipe-hyper-util`

use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, Pipeline, ReplayLayer,
    http::{
        HttpClient,
        replay::{Replay, ReplayBody},
    },
};
use tower_keep_test::http::{Origin, Reply};

/// Any body, also a streamed one.
type Body = UnsyncBoxBody<Bytes, BoxError>;
/// The client with its stack, to keep it in a struct.
type Api = Replay<HttpClient<Client<HttpConnector, ReplayBody<Body>>>>;

fn api(http2: bool) -> Result<Api, BoxError> {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(http2) // Without TLS nothing else chooses the version.
        .retry_canceled_requests(false) // The stack retries, so the client itself must not.
        .build_http();
    Ok(ServiceBuilder::new()
        .layer(ReplayLayer::new()) // keeps up to 64 KiB of each body for a retry
        .layer(Pipeline::http_client().build()?)
        .service(client))
}

/// A body of unknown length, in pieces.
fn streamed(pieces: &'static [&'static str]) -> Body {
    let frames = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::from(*piece))));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    for (version, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
        let server = Origin::start().await?.script([
            Reply::status(503).header("retry-after", "0"),
            Reply::close(),
            Reply::status(200).body("stored"),
            Reply::status(503).header("retry-after", "0"),
        ]);
        let api = api(http2)?;

        let put = Request::put(server.url("/file")).body(streamed(&["one ", "two ", "three"]))?;
        let response = api.clone().oneshot(put).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        println!(
            "{version} PUT: {status} {answer:?}, requests: {}",
            server.count()
        );
        assert_eq!((&*answer, server.count()), (&b"stored"[..], 3));
        for request in server.received() {
            assert_eq!(request.body, "one two three");
        }

        // The server may have processed it, so a POST is sent once.
        let post = Request::post(server.url("/orders")).body(streamed(&["two towers"]))?;
        let status = api.oneshot(post).await?.status();
        println!("{version} POST: {status}, requests: {}", server.count() - 3);
        assert_eq!(
            (status, server.count()),
            (StatusCode::SERVICE_UNAVAILABLE, 4)
        );
    }
    Ok(())
}
