//! hyper's clients on connections in memory, on a paused clock: times are exact.

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;
use tower_keep_test::{
    http::{Origin, Reply},
    secs,
};

async fn get(origin: &Origin, version: Version) -> hyper::Result<Response<Incoming>> {
    let stream = TokioIo::new(origin.connect().unwrap());
    let request = Request::get("http://origin.test/")
        .header("host", "origin.test")
        .body(Full::<Bytes>::default())
        .unwrap();
    if version == Version::HTTP_2 {
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        client.send_request(request).await
    } else {
        let (mut client, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        client.send_request(request).await
    }
}

/// R81 Delays of the head and pauses of the body pass in no real time, to the millisecond.
#[tokio::test(start_paused = true)]
async fn delays_are_exact() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let origin = Origin::in_memory().then(
            Reply::status(200)
                .body("0123456789")
                .after(secs(3600))
                .trickle(5, secs(10)),
        );
        let begin = Instant::now();
        let response = get(&origin, version).await.unwrap();
        assert_eq!(begin.elapsed(), secs(3600));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "0123456789");
        assert_eq!(begin.elapsed(), secs(3610));
        assert_eq!(origin.received()[0].at, begin);
    }
}

/// R81 A close in memory is an incomplete message in HTTP/1.1, as on a socket.
#[tokio::test(start_paused = true)]
async fn a_close_is_as_on_a_socket() {
    let origin = Origin::in_memory().script([Reply::close(), Reply::close()]);
    let error = get(&origin, Version::HTTP_11).await.unwrap_err();
    assert!(error.is_incomplete_message(), "{error:?}");
    assert!(get(&origin, Version::HTTP_2).await.is_err());
    origin.assert_finished();
}
