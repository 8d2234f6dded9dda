//! HTTP/1.1: what the origin sends, to the byte.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tower_keep_test::{
    Gate,
    http::{ErrorCode, InMemoryStream, Origin, Reply},
    ms, secs,
};

const GET: &[u8] = b"GET /a?b=c HTTP/1.1\r\nhost: origin.test\r\n\r\n";

async fn send(origin: &Origin, request: &[u8]) -> InMemoryStream {
    let mut client = origin.connect().unwrap();
    client.write_all(request).await.unwrap();
    client
}

/// The bytes until the connection ends.
async fn rest(client: &mut InMemoryStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The bytes that arrive within an hour, and whether the connection ended.
async fn within_an_hour(client: &mut InMemoryStream) -> (String, bool) {
    let mut answer = Vec::new();
    let read = async { while client.read_buf(&mut answer).await.unwrap() > 0 {} };
    let ended = timeout(secs(3600), read).await.is_ok();
    (String::from_utf8_lossy(&answer).into_owned(), ended)
}

/// One request and everything that the origin sends for it.
async fn answer(reply: Reply) -> (String, bool) {
    let origin = Origin::in_memory().then(reply);
    let mut client = send(&origin, GET).await;
    let answer = within_an_hour(&mut client).await;
    origin.assert_finished();
    answer
}

fn open(answer: &str) -> (String, bool) {
    (answer.to_owned(), false)
}

fn ended(answer: &str) -> (String, bool) {
    (answer.to_owned(), true)
}

#[tokio::test(start_paused = true)]
async fn whole_answers() {
    assert_eq!(
        answer(Reply::status(503).header("retry-after", "2").body("busy")).await,
        open("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\nretry-after: 2\r\n\r\nbusy"),
    );
    assert_eq!(
        answer(Reply::status(204)).await,
        open("HTTP/1.1 204 No Content\r\n\r\n"),
    );
    assert_eq!(
        answer(Reply::status(200).body("abc").chunked()).await,
        open("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    );
    assert_eq!(
        answer(Reply::status(200).body("abc").trailer("grpc-status", "14")).await,
        open(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 14\r\n\r\n"
        ),
    );
    assert_eq!(
        answer(Reply::status(200).body("abc").close_delimited()).await,
        ended("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"),
    );
    assert_eq!(
        answer(Reply::status(200).informational(103).informational(102)).await,
        open(
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        ),
    );
    assert_eq!(
        answer(Reply::status(200).close_connection()).await,
        ended("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    );
}

#[tokio::test(start_paused = true)]
async fn broken_bodies() {
    let body = || Reply::status(200).body("0123456789");
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    assert_eq!(
        answer(body().truncate_after(4)).await,
        ended(&format!("{head}0123"))
    );
    assert_eq!(answer(body().close_after(0)).await, ended(head));
    assert_eq!(
        answer(body().rst_stream_after(4, ErrorCode::CANCEL)).await,
        ended(&format!("{head}0123"))
    );
    assert_eq!(
        answer(body().stall_after(4)).await,
        open(&format!("{head}0123"))
    );
    assert_eq!(
        answer(body().truncate_after(99)).await,
        ended(&format!("{head}0123456789"))
    );
    assert_eq!(
        answer(body().chunked().truncate_after(4)).await,
        ended("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n"),
    );
    // Too long: the connection ends. Too short: the rest follows the answer.
    assert_eq!(
        answer(body().content_length(11)).await,
        ended("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n0123456789"),
    );
    assert_eq!(
        answer(body().content_length(9)).await,
        open("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n0123456789"),
    );
}

#[tokio::test(start_paused = true)]
async fn no_answers() {
    assert_eq!(answer(Reply::close()).await, ended(""));
    assert_eq!(answer(Reply::hang()).await, open(""));
    for reply in [
        Reply::refused_stream(),
        Reply::rst_stream(ErrorCode::CANCEL),
        Reply::go_away(ErrorCode::NO_ERROR),
        Reply::go_away_processed(ErrorCode::NO_ERROR),
    ] {
        assert_eq!(answer(reply).await, ended(""));
    }
    assert_eq!(
        answer(Reply::garbage()).await,
        ended("\u{15}\u{3}\u{1} this is not HTTP\r\n\r\n")
    );
    let ok = || Reply::status(200);
    assert_eq!(answer(ok().close_after_head_bytes(5)).await, ended("HTTP/"));
    assert_eq!(
        answer(ok().close_after_head_bytes(999)).await,
        ended("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r"),
    );
    assert_eq!(
        answer(Reply::upgrade("websocket", "hello")).await,
        open(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello"
        ),
    );
}

#[tokio::test(start_paused = true)]
async fn resets_in_memory() {
    for reply in [
        Reply::reset(),
        Reply::status(200).body("0123").reset_after(2),
    ] {
        let origin = Origin::in_memory().then(reply);
        let mut client = send(&origin, GET).await;
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = client.write_all(GET).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn resets_on_a_socket() {
    for reply in [
        Reply::reset(),
        Reply::status(200).body("0123").reset_after(2),
    ] {
        let origin = Origin::start().await.unwrap().then(reply);
        let mut client = TcpStream::connect(origin.address()).await.unwrap();
        client.write_all(GET).await.unwrap();
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_close_on_a_socket_is_not_a_reset_even_if_the_client_sends_on() {
    let origin = Origin::start().await.unwrap().then(Reply::close().early());
    let mut client = TcpStream::connect(origin.address()).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"body").await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(!origin.received()[0].complete);
}

#[tokio::test(start_paused = true)]
async fn times() {
    let begin = Instant::now();
    let origin = Origin::in_memory()
        .then(Reply::status(200).after(secs(5)))
        .then(
            Reply::status(200)
                .body("0123456789")
                .trickle(4, secs(1))
                .pause_after(6, secs(10)),
        );
    let mut client = send(&origin, GET).await;
    let mut head = vec![0; "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".len()];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(begin.elapsed(), secs(5));

    client.write_all(GET).await.unwrap();
    let mut pieces = Vec::new();
    let mut body = Vec::new();
    while !body.ends_with(b"9") {
        client.read_buf(&mut body).await.unwrap();
        pieces.push((String::from_utf8_lossy(&body).into_owned(), begin.elapsed()));
    }
    let seen: Vec<_> = pieces
        .iter()
        .map(|(body, at)| (body.rsplit('\n').next().unwrap(), at.as_secs()))
        .filter(|(body, _)| !body.is_empty())
        .collect();
    assert_eq!(
        seen,
        [
            ("0123", 5),
            ("012345", 6),
            ("01234567", 16),
            ("0123456789", 17)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_gate_holds_a_reply_back() {
    let gate = Gate::new();
    let origin = Origin::in_memory().then(Reply::status(204).when(&gate).close_connection());
    let mut client = send(&origin, GET).await;
    assert_eq!(within_an_hour(&mut client).await, open(""));
    gate.open();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test(start_paused = true)]
async fn the_record_begins_with_the_head_and_grows_with_the_body() {
    let origin = Origin::in_memory().answer_with(|request| {
        Reply::status(200)
            .body(request.body.clone())
            .close_connection()
    });
    let mut client = origin.connect().unwrap();
    tokio::time::sleep(secs(1)).await;
    let head = b"POST /a?b=c HTTP/1.1\r\nhost: h\r\nauthorization: secret\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(head).await.unwrap();
    origin.until(|received| received.len() == 1).await;
    let at = Instant::now();
    client.write_all(b"3\r\nabc\r\n").await.unwrap();
    origin.until(|received| received[0].body == "abc").await;
    assert!(!origin.received()[0].complete);
    tokio::time::sleep(secs(1)).await;
    client
        .write_all(b"3\r\ndef\r\n0\r\nx-sum: 6\r\n\r\n")
        .await
        .unwrap();

    assert!(rest(&mut client).await.ends_with("\r\n\r\nabcdef"));
    let received = &origin.received()[0];
    assert_eq!((received.path(), received.query()), ("/a", Some("b=c")));
    assert_eq!(received.method, "POST");
    assert_eq!(received.version, http::Version::HTTP_11);
    assert_eq!(received.authority(), Some("h"));
    assert_eq!(received.header("authorization"), Some("secret"));
    assert!(!format!("{received:?}").contains("secret"));
    assert_eq!(received.trailers.as_ref().unwrap()["x-sum"], "6");
    assert_eq!(received.at, at);
    assert!(received.complete && received.processed && received.abandoned.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_comes_before_the_body_which_is_read_afterwards() {
    let origin = Origin::in_memory()
        .then(Reply::status(503).early())
        .then(Reply::status(204).close_connection());
    let mut client = origin.connect().unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head).await.unwrap();
    let (answer, _) = within_an_hour(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    client.write_all(b"body").await.unwrap();
    client.write_all(GET).await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 204"));
    let received = origin.received();
    assert_eq!(received[0].body, "body");
    assert!(received[0].complete);
    assert_eq!((received[1].connection, received[1].index), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_it_gets_100_continue() {
    let origin = Origin::in_memory().then(Reply::status(204).close_connection());
    let mut client = origin.connect().unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(
        within_an_hour(&mut client).await,
        open("HTTP/1.1 100 Continue\r\n\r\n")
    );
    client.write_all(b"body").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test(start_paused = true)]
async fn the_record_shows_when_the_client_gave_up() {
    for reply in [
        Reply::hang(),
        Reply::status(200).after(secs(60)),
        Reply::status(200).body("0123").stall_after(2),
        Reply::status(200).body("0123").trickle(1, secs(60)),
        Reply::status(200).when(&Gate::new()),
    ] {
        let origin = Origin::in_memory().then(reply);
        let client = send(&origin, GET).await;
        tokio::time::sleep(secs(1)).await;
        drop(client);
        let gone = Instant::now();
        origin
            .until(|received| received.iter().any(|one| one.abandoned.is_some()))
            .await;
        assert_eq!(origin.received()[0].abandoned, Some(gone));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_request_gets_no_body() {
    let origin = Origin::in_memory().then(Reply::status(200).body("0123").truncate_after(2));
    let mut client = send(&origin, b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(
        within_an_hour(&mut client).await,
        open("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_idle_connection() {
    let origin = Origin::in_memory()
        .then(Reply::status(204).close_idle_after(ms(500)))
        .then(Reply::status(204).close_on_reuse());
    let begin = Instant::now();
    let mut client = send(&origin, GET).await;
    assert_eq!(rest(&mut client).await, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(begin.elapsed(), ms(500));

    let mut client = send(&origin, GET).await;
    assert!(!within_an_hour(&mut client).await.1);
    client.write_all(GET).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(origin.received().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_http_is_a_problem_of_the_test() {
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
    ] {
        let origin = Origin::in_memory();
        let mut client = send(&origin, request.as_bytes()).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(origin.problems().len(), 1, "{request}");
    }
}
