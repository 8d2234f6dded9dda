//! HTTP/2: what a client sees of each reply.

use std::io::ErrorKind;

use bytes::Bytes;
use http::{Request, Version};
use tokio::time::{Instant, timeout};
use tower_keep_test::{
    Gate,
    http::{ErrorCode, Origin, Reply},
    secs,
};

use crate::h2_client::{Answer, Client, go_away_code, read, reset_code};

async fn get(reply: Reply) -> Result<Answer, h2::Error> {
    let origin = Origin::in_memory().then(reply);
    let answer = Client::connect(&origin).await.get().await;
    origin.assert_finished();
    answer
}

/// The error of a body that began.
async fn body_error(reply: Reply, body: &str) -> h2::Error {
    let answer = get(reply).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, body.as_bytes());
    answer.error.unwrap()
}

#[tokio::test(start_paused = true)]
async fn whole_answers() {
    let reply = Reply::status(503)
        .header("retry-after", "2")
        .body("busy")
        .trailer("grpc-status", "14");
    let answer = get(reply).await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(answer.body, b"busy");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "14");
    assert!(answer.error.is_none());

    let answer = get(Reply::status(200).body("abc")).await.unwrap();
    assert_eq!(answer.headers["content-length"], "3");
    for reply in [
        Reply::status(200).body("abc").chunked(),
        Reply::status(200).body("abc").close_delimited(),
    ] {
        let answer = get(reply).await.unwrap();
        assert!(!answer.headers.contains_key("content-length"));
        assert!(answer.error.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_body_passes_flow_control() {
    let body = vec![b'x'; 1_000_000];
    let origin = Origin::in_memory().then(Reply::status(200).body(body.clone()));
    let mut client = Client::connect(&origin).await;
    let response = client.send("GET").await.await.unwrap();
    let mut received = response.into_body();
    let mut length = 0;
    while let Some(data) = received.data().await {
        let data = data.unwrap();
        length += data.len();
        received
            .flow_control()
            .release_capacity(data.len())
            .unwrap();
    }
    assert_eq!(length, body.len());
}

#[tokio::test(start_paused = true)]
async fn informational_answers_come_first() {
    let origin = Origin::in_memory().then(Reply::status(204).informational(103).after(secs(1)));
    let mut client = Client::connect(&origin).await;
    let mut response = client.send("GET").await;
    let begin = Instant::now();
    let first = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
    assert_eq!(first.unwrap().unwrap().status(), 103);
    assert_eq!(begin.elapsed(), secs(1));
    assert_eq!(response.await.unwrap().status(), 204);
}

#[tokio::test(start_paused = true)]
async fn broken_bodies() {
    let body = || Reply::status(200).body("0123456789");
    let error = body_error(body().truncate_after(4), "0123").await;
    assert_eq!(reset_code(&error), Some(ErrorCode::INTERNAL_ERROR));
    let error = body_error(body().truncate_after(0), "").await;
    assert_eq!(reset_code(&error), Some(ErrorCode::INTERNAL_ERROR));
    let error = body_error(body().rst_stream_after(4, ErrorCode::CANCEL), "0123").await;
    assert_eq!(reset_code(&error), Some(ErrorCode::CANCEL));
    let error = body_error(body().close_after(4), "0123").await;
    assert!(error.is_io() || error.is_go_away(), "{error:?}");
    let error = body_error(body().reset_after(4), "0123").await;
    assert_eq!(error.get_io().unwrap().kind(), ErrorKind::ConnectionReset);

    // The library checks the length that a body announces.
    let error = body_error(body().content_length(11), "0123456789").await;
    assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
    let error = body_error(body().content_length(9), "").await;
    assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));

    let begin = Instant::now();
    assert!(timeout(secs(60), get(body().stall_after(4))).await.is_err());
    let answer = get(body().trickle(5, secs(1)).pause_after(7, secs(2)))
        .await
        .unwrap();
    assert_eq!(answer.body, b"0123456789");
    assert_eq!(begin.elapsed(), secs(60 + 1 + 2));
}

#[tokio::test(start_paused = true)]
async fn no_answers() {
    let error = get(Reply::refused_stream()).await.unwrap_err();
    assert_eq!(reset_code(&error), Some(ErrorCode::REFUSED_STREAM));
    let error = get(Reply::rst_stream(ErrorCode::ENHANCE_YOUR_CALM))
        .await
        .unwrap_err();
    assert_eq!(reset_code(&error), Some(ErrorCode::ENHANCE_YOUR_CALM));
    let error = get(Reply::upgrade("websocket", "")).await.unwrap_err();
    assert_eq!(reset_code(&error), Some(ErrorCode::HTTP_1_1_REQUIRED));
    let error = get(Reply::go_away(ErrorCode::NO_ERROR)).await.unwrap_err();
    assert_eq!(go_away_code(&error), Some(ErrorCode::NO_ERROR));
    let error = get(Reply::reset()).await.unwrap_err();
    assert_eq!(error.get_io().unwrap().kind(), ErrorKind::ConnectionReset);
    for reply in [
        Reply::close(),
        Reply::status(200).close_after_head_bytes(3),
        Reply::status(200).close_after_head_bytes(99),
    ] {
        let error = get(reply).await.unwrap_err();
        assert!(error.is_io(), "{error:?}");
    }
    let error = get(Reply::garbage()).await.unwrap_err();
    assert!(error.is_library(), "{error:?}");
    assert_eq!(error.reason(), Some(h2::Reason::FRAME_SIZE_ERROR));
    assert!(timeout(secs(60), get(Reply::hang())).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_go_away_lets_earlier_streams_finish_and_fails_later_ones() {
    let gate = Gate::new();
    let origin = Origin::in_memory()
        .then(Reply::status(200).body("first").when(&gate))
        .then(Reply::go_away(ErrorCode::ENHANCE_YOUR_CALM).after(secs(1)));
    let mut client = Client::connect(&origin).await;
    let first = client.send("GET").await;
    let second = client.send("POST").await;

    let error = read(second).await.unwrap_err();
    assert_eq!(go_away_code(&error), Some(ErrorCode::ENHANCE_YOUR_CALM));
    gate.open();
    assert_eq!(read(first).await.unwrap().body, b"first");
    let _ = client.connection.await.unwrap();

    let received = origin.received();
    assert!(received[0].processed && !received[1].processed);
}

#[tokio::test(start_paused = true)]
async fn a_go_away_may_count_the_request_as_processed() {
    let origin = Origin::in_memory().then(Reply::go_away_processed(ErrorCode::NO_ERROR));
    let mut client = Client::connect(&origin).await;
    let error = client.get().await.unwrap_err();
    // The client waits for its answer until the connection ends.
    assert!(!(error.is_reset()), "{error:?}");
    assert!(origin.received()[0].processed);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_is_announced_or_not() {
    let origin = Origin::in_memory()
        .then(Reply::status(200).body("last").close_connection())
        .then(Reply::status(204).close_idle_after(secs(3)))
        .then(Reply::status(204).close_on_reuse());
    let mut client = Client::connect(&origin).await;
    let answer = client.get().await.unwrap();
    assert_eq!(
        (answer.body.as_slice(), answer.error.is_none()),
        (&b"last"[..], true)
    );
    assert!(client.connection.await.unwrap().is_ok());

    let begin = Instant::now();
    let mut client = Client::connect(&origin).await;
    assert_eq!(client.get().await.unwrap().status, 204);
    let _ = client.connection.await.unwrap();
    assert_eq!(begin.elapsed(), secs(3));

    let mut client = Client::connect(&origin).await;
    assert_eq!(client.get().await.unwrap().status, 204);
    let error = client.get().await.unwrap_err();
    assert!(error.is_io() || error.is_go_away(), "{error:?}");
    assert_eq!(origin.received().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_request() {
    let gate = Gate::new();
    let origin = Origin::in_memory().then(Reply::status(204).when(&gate));
    let client = Client::connect(&origin).await;
    let mut requests = client.requests.ready().await.unwrap();
    let request = Request::put("http://origin.test/a?b=c").body(()).unwrap();
    let (response, mut body) = requests.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), false).unwrap();
    origin
        .until(|received| received.iter().any(|one| one.body == "abc"))
        .await;
    assert!(!origin.received()[0].complete);
    body.send_trailers(
        [("x-sum".parse().unwrap(), "3".parse().unwrap())]
            .into_iter()
            .collect(),
    )
    .unwrap();
    origin.until(|received| received[0].complete).await;
    let received = &origin.received()[0];
    assert_eq!(received.version, Version::HTTP_2);
    assert_eq!((received.path(), received.query()), ("/a", Some("b=c")));
    assert_eq!(received.authority(), Some("origin.test"));
    assert_eq!(received.trailers.as_ref().unwrap()["x-sum"], "3");
    assert_eq!((received.connection, received.index), (0, 0));

    let gone = Instant::now();
    drop((response, body));
    origin
        .until(|received| received[0].abandoned.is_some())
        .await;
    assert_eq!(origin.received()[0].abandoned, Some(gone));
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_comes_before_the_body() {
    let origin = Origin::in_memory().then(Reply::status(503).early());
    let client = Client::connect(&origin).await;
    let mut requests = client.requests.ready().await.unwrap();
    let request = Request::put("http://origin.test/").body(()).unwrap();
    let (response, mut body) = requests.send_request(request, false).unwrap();
    assert_eq!(read(response).await.unwrap().status, 503);
    body.send_data(Bytes::from_static(b"late"), true).unwrap();
    origin.until(|received| received[0].complete).await;
    assert_eq!(origin.received()[0].body, "late");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_abandons_its_requests() {
    let origin = Origin::in_memory().script([Reply::hang(), Reply::hang()]);
    let mut client = Client::connect(&origin).await;
    let responses = (client.send("GET").await, client.send("GET").await);
    origin.until(|received| received.len() == 2).await;
    client.connection.abort();
    origin
        .until(|received| received.iter().all(|one| one.abandoned.is_some()))
        .await;
    drop(responses);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_http_2_forbids_is_a_problem_of_the_test() {
    let origin = Origin::in_memory().then(Reply::status(200).header("keep-alive", "1"));
    let mut client = Client::connect(&origin).await;
    assert!(client.get().await.is_err());
    assert!(origin.problems()[0].contains("cannot be sent in HTTP/2"));
    assert!(origin.received()[0].abandoned.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_test_ends_all_connections_at_once() {
    let origin = Origin::in_memory().script([Reply::hang(), Reply::hang()]);
    let mut client = Client::connect(&origin).await;
    let (first, second) = (client.send("GET").await, client.send("GET").await);
    origin.until(|received| received.len() == 2).await;
    origin.reset_connections();
    for response in [first, second] {
        let error = read(response).await.unwrap_err();
        assert_eq!(error.get_io().unwrap().kind(), ErrorKind::ConnectionReset);
    }
    assert!(origin.received().iter().all(|one| one.abandoned.is_none()));
}
