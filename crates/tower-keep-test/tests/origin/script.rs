//! Scripts: which reply comes next, and mistakes of the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_keep_test::{
    http::{ErrorCode, Origin, Reply},
    ms,
};

/// The status and the body of one request on a new connection.
async fn get(origin: &Origin, path: &str) -> (u16, String) {
    let mut client = origin.connect().unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: origin.test\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split("\r\n\r\n").nth(1).unwrap().to_owned())
}

async fn statuses(origin: &Origin, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(origin, "/").await.0);
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn replies_come_in_order() {
    let origin = Origin::in_memory();
    assert_eq!(statuses(&origin, 2).await, [200, 200]);

    let origin = Origin::in_memory()
        .script([Reply::status(503), Reply::status(429)])
        .times(2, &Reply::status(500))
        .then(Reply::status(201))
        .repeat_last();
    assert_eq!(
        statuses(&origin, 7).await,
        [503, 429, 500, 500, 201, 201, 201]
    );
    origin.push(Reply::status(202));
    assert_eq!(statuses(&origin, 2).await, [202, 202]);
    origin.assert_finished();
}

#[tokio::test(start_paused = true)]
async fn a_closure_answers_after_the_script() {
    let origin = Origin::in_memory()
        .then(Reply::status(503))
        .answer_with(|request| match request.path() {
            "/a" => Reply::status(200).body("a"),
            path => Reply::status(404).body(path.to_owned()),
        });
    assert_eq!(get(&origin, "/a").await.0, 503);
    assert_eq!(get(&origin, "/a").await, (200, "a".to_owned()));
    assert_eq!(get(&origin, "/b").await, (404, "/b".to_owned()));
    origin.assert_finished();
}

#[tokio::test(start_paused = true)]
async fn a_closure_for_the_head_can_answer_early() {
    let origin = Origin::in_memory().answer_head_with(|request| {
        assert!(!request.complete);
        Reply::status(413).early().close_connection()
    });
    let mut client = origin.connect().unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"));
    assert!(!origin.received()[0].complete);
}

#[tokio::test(start_paused = true)]
async fn mistakes_of_the_test_are_said() {
    let origin = Origin::in_memory().then(Reply::status(200));
    assert_eq!(get(&origin, "/").await.0, 200);
    let (status, body) = get(&origin, "/").await;
    assert_eq!(status, 500);
    assert!(body.contains("ended after 1 replies"), "{body}");
    assert_eq!(origin.problems(), [body]);

    let origin = Origin::in_memory().answer_with(|_| panic!("no answer today"));
    let (status, body) = get(&origin, "/").await;
    assert_eq!(status, 500);
    assert!(body.contains("no answer today"), "{body}");
    assert_eq!(origin.problems().len(), 1);
}

#[test]
#[should_panic(expected = "1 replies were not used")]
fn replies_that_were_not_used() {
    Origin::in_memory().then(Reply::close()).assert_finished();
}

#[test]
#[should_panic(expected = "there is no reply to repeat")]
fn nothing_to_repeat() {
    let _ = Origin::in_memory().repeat_last();
}

/// The message of a panic.
fn refused(make: impl FnOnce() -> Reply + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(make).unwrap_err();
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn replies_that_make_no_sense_are_refused_where_they_are_made() {
    let ok = || Reply::status(200);
    for (message, expected) in [
        (refused(|| Reply::status(99)), "not a final status"),
        (refused(|| Reply::status(103)), "not a final status"),
        (
            refused(move || ok().informational(101)),
            "not informational",
        ),
        (
            refused(move || ok().informational(200)),
            "not informational",
        ),
        (
            refused(move || ok().header("content-length", "1")),
            "content_length",
        ),
        (
            refused(move || ok().header("transfer-encoding", "gzip")),
            "chunked",
        ),
        (
            refused(move || ok().header("connection", "close")),
            "close_connection",
        ),
        (refused(move || ok().header("a b", "")), "not a header name"),
        (
            refused(move || ok().header("a", "\n")),
            "not a header value",
        ),
        (
            refused(move || ok().chunked().content_length(1)),
            "one framing",
        ),
        (
            refused(move || ok().close_delimited().trailer("a", "b")),
            "one framing",
        ),
        (refused(move || ok().trickle(0, ms(1))), "at least one byte"),
        (refused(|| Reply::close().body("a")), "no answer"),
        (
            refused(|| Reply::rst_stream(ErrorCode::CANCEL).stall_after(1)),
            "no answer",
        ),
        (refused(|| Reply::upgrade("\n", "")), "header value"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}
