//! Which responses are resumed.

use std::io;

use http::{Method, Request};
use tower::Layer;
use tower_keep::{
    BoxError, RepeatRequest, ResumeLayer, RetryLayer, http::resume::NotResumedReason,
};

use super::{Answer, CONTENT, CUT, Download, End, Server, download, get};

/// The first response breaks off after four bytes; the rest is there if it is asked for.
async fn cut(first: Answer, request: Request<String>) -> (Download, Server) {
    let server = Server::new([first.cut_after(4), Answer::rest(CONTENT, 4)]);
    let got = download(ResumeLayer::new().layer(server.client()), request).await;

    (got, server)
}

#[track_caller]
fn was_resumed((got, server): (Download, Server)) {
    got.is_whole();
    assert_eq!(server.ranges(), ["", "bytes=4-"]);
}

#[track_caller]
fn was_not_resumed((got, server): (Download, Server)) {
    got.is_unchanged(&CONTENT[..4]);
    assert_eq!(server.arrived().len(), 1);
}

/// R86 A 200 with a strong entity tag and a length is resumed: `Range` and `If-Range` are those of
/// RFC 9110, sections 14.2 and 13.1.5.
#[tokio::test(start_paused = true)]
async fn a_strong_entity_tag() {
    let (got, server) = cut(Answer::whole(CONTENT), get()).await;
    assert_eq!(server.arrived()[1].header("if-range"), Some("\"v1\""));
    assert_eq!(server.arrived()[0].header("if-range"), None);
    was_resumed((got, server));
}

/// R86 Weak and invalid entity tags prove nothing.
#[tokio::test(start_paused = true)]
async fn other_entity_tags() {
    for tag in ["W/\"v1\"", "v1", ""] {
        was_not_resumed(cut(Answer::whole(CONTENT).header("etag", tag), get()).await);
    }
    was_not_resumed(cut(Answer::whole(CONTENT).without("etag"), get()).await);
}

/// R86 A date of modification counts if it is 60 s old, and if there is no entity tag.
#[tokio::test(start_paused = true)]
async fn a_date_of_modification() {
    let dated = |date| {
        Answer::whole(CONTENT)
            .without("etag")
            .header("last-modified", "Fri, 15 Nov 2024 12:00:00 GMT")
            .header("date", date)
    };
    let (old, young) = (
        "Fri, 15 Nov 2024 12:01:00 GMT",
        "Fri, 15 Nov 2024 12:00:59 GMT",
    );

    let first = dated(old).cut_after(4);
    let rest = Answer::rest(CONTENT, 4).without("etag");
    let server = Server::new([first, rest]);
    let got = download(ResumeLayer::new().layer(server.client()), get()).await;
    let if_range = server.arrived()[1].header("if-range").map(str::to_owned);
    assert_eq!(if_range.as_deref(), Some("Fri, 15 Nov 2024 12:00:00 GMT"));
    was_resumed((got, server));

    was_not_resumed(cut(dated(young), get()).await);
    was_not_resumed(cut(dated(old).without("date"), get()).await);
    was_not_resumed(cut(dated(old).header("etag", "W/\"v1\""), get()).await);
}

/// R86 Without a length, the body may be the decoded form of another one. A body that knows its
/// length needs no header.
#[tokio::test(start_paused = true)]
async fn a_length() {
    let unknown = || Answer::whole(CONTENT).without("content-length");
    was_not_resumed(cut(unknown(), get()).await);
    was_resumed(cut(unknown().exact(10), get()).await);
    was_resumed(cut(Answer::whole(CONTENT).exact(10), get()).await);
    // They contradict each other.
    was_not_resumed(cut(Answer::whole(CONTENT).exact(9), get()).await);
    was_not_resumed(
        cut(
            Answer::whole(CONTENT).header("content-length", "ten"),
            get(),
        )
        .await,
    );
}

/// R86 Never across a content coding, and not if the server says that it has no ranges.
#[tokio::test(start_paused = true)]
async fn headers_that_forbid_it() {
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-encoding", "identity"),
        ("accept-ranges", "none"),
        ("accept-ranges", "None"),
        ("transfer-encoding", "chunked"),
    ] {
        was_not_resumed(cut(Answer::whole(CONTENT).header(name, value), get()).await);
    }
    was_resumed(
        cut(
            Answer::whole(CONTENT).header("accept-ranges", "bytes"),
            get(),
        )
        .await,
    );
}

/// R86 Only responses with status 200, or 206 with one range.
#[tokio::test(start_paused = true)]
async fn statuses() {
    for status in [201, 203, 404, 500] {
        let first = Answer {
            status,
            ..Answer::whole(CONTENT)
        };
        was_not_resumed(cut(first, get()).await);
    }
}

/// R86 A range that the caller asked for is resumed within that range.
#[tokio::test(start_paused = true)]
async fn a_range_of_the_caller() {
    let mut request = get();
    request
        .headers_mut()
        .insert("range", "bytes=2-7".parse().unwrap());
    let part = |first: usize| {
        Answer::status(206)
            .header("content-range", format!("bytes {first}-7/10"))
            .header("etag", "\"v1\"")
            .body(&CONTENT[first..8])
    };
    let whole = part(2).header("content-length", 6);
    let server = Server::new([whole.clone().cut_after(3), part(5)]);
    let got = download(ResumeLayer::new().layer(server.client()), request.clone()).await;
    got.is(&CONTENT[2..8]);
    assert_eq!(server.ranges(), ["bytes=2-7", "bytes=5-7"]);

    // The server does not know the length of the whole.
    let unknown =
        |answer: Answer, first| answer.header("content-range", format!("bytes {first}-7/*"));
    let server = Server::new([unknown(whole.clone(), 2).cut_after(3), unknown(part(5), 5)]);
    let got = download(ResumeLayer::new().layer(server.client()), request.clone()).await;
    got.is(&CONTENT[2..8]);

    for first in [
        whole.clone().without("content-range"),
        whole.clone().header("content-range", "bytes 2-6/10"),
        whole.clone().header("content-range", "bytes 2-7/7"),
        whole
            .clone()
            .header("content-type", "Multipart/Byteranges; boundary=x"),
    ] {
        let server = Server::new([first.cut_after(3)]);
        let got = download(ResumeLayer::new().layer(server.client()), request.clone()).await;
        got.is_unchanged(&CONTENT[2..5]);
    }
}

/// R86 A complete length that one part names holds for all later parts.
#[tokio::test(start_paused = true)]
async fn a_length_that_is_named_later() {
    let mut request = get();
    let range = "bytes=0-5".parse().unwrap();
    request.headers_mut().insert("range", range);
    let part = |range: &str, first: usize| {
        Answer::status(206)
            .header("etag", "\"v1\"")
            .header("content-range", range)
            .body(&CONTENT[first..6])
    };
    for (last, fits) in [
        ("bytes 4-5/10", true),
        ("bytes 4-5/*", true),
        ("bytes 4-5/77", false),
    ] {
        let server = Server::new([
            part("bytes 0-5/*", 0)
                .header("content-length", 6)
                .cut_after(2),
            part("bytes 2-5/10", 2).cut_after(2),
            part(last, 4),
        ]);
        let got = download(ResumeLayer::new().layer(server.client()), request.clone()).await;
        match fits {
            true => got.is(&CONTENT[..6]),
            false => {
                got.is_not_resumed(&CONTENT[..4], NotResumedReason::Changed);
            }
        }
    }
}

/// R86 Only a GET without a body, that may be repeated.
#[tokio::test(start_paused = true)]
async fn requests() {
    let with = |method: Method, body: &str| {
        let request = Request::builder()
            .method(method)
            .uri("http://example.com/file");
        request.body(body.to_owned()).unwrap()
    };
    for method in [Method::POST, Method::PUT, Method::QUERY, Method::OPTIONS] {
        was_not_resumed(cut(Answer::whole(CONTENT), with(method, "")).await);
    }
    was_not_resumed(cut(Answer::whole(CONTENT), with(Method::GET, "a body")).await);

    let mut forbidden = get();
    forbidden.extensions_mut().insert(RepeatRequest::Forbidden);
    was_not_resumed(cut(Answer::whole(CONTENT), forbidden).await);

    let server = Server::new([Answer::whole(CONTENT).cut_after(4)]);
    let retry = RetryLayer::http()
        .repeat_by(|_: &Request<String>| Some(RepeatRequest::Forbidden))
        .resume();
    let got = download(retry.layer(server.client()), get()).await;
    was_not_resumed((got, server));
}

/// R86 Which errors of a body may pass.
#[tokio::test(start_paused = true)]
async fn errors() {
    for kind in [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::TimedOut,
        io::ErrorKind::Other,
    ] {
        let first = Answer::whole(CONTENT).ends_after(4, End::Error(kind));
        let server = Server::new([first, Answer::rest(CONTENT, 4)]);
        download(ResumeLayer::new().layer(server.client()), get())
            .await
            .is_whole();
    }
    // A body that ends early, without an error, is cut too.
    let first = Answer::whole(CONTENT).ends_after(4, End::Done);
    let server = Server::new([first, Answer::rest(CONTENT, 4)]);
    download(ResumeLayer::new().layer(server.client()), get())
        .await
        .is_whole();
}

/// R86 An error after the last byte changes nothing: all bytes have arrived.
#[tokio::test(start_paused = true)]
async fn an_error_after_the_last_byte() {
    let server = Server::new([Answer::whole(CONTENT).cut_after(10)]);
    download(ResumeLayer::new().layer(server.client()), get())
        .await
        .is_whole();
    assert_eq!(server.arrived().len(), 1);
}

/// R86 A body that is not cut is passed on as it is, with its trailers; so is an empty one, and one
/// that is longer than declared.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_cut() {
    for answer in [
        Answer::whole(CONTENT),
        Answer::whole(CONTENT).exact(10),
        Answer::whole(CONTENT).header("content-length", 8),
        Answer::whole(CONTENT).header("content-length", 0),
    ] {
        let server = Server::new([answer.trailers()]);
        let got = download(ResumeLayer::new().layer(server.client()), get()).await;
        got.is_whole();
        assert!(got.trailers);
    }
    let empty = Answer::whole("");
    for answer in [empty.clone(), empty.exact(0)] {
        let server = Server::new([answer]);
        download(ResumeLayer::new().layer(server.client()), get())
            .await
            .is("");
    }
    let longer = Answer::whole(CONTENT).header("content-length", 8);
    let server = Server::new([longer.ends_after(10, CUT)]);
    let got = download(ResumeLayer::new().layer(server.client()), get()).await;
    got.is_unchanged(CONTENT);
}

/// R86 A HEAD has a length, but no body.
#[tokio::test(start_paused = true)]
async fn a_head() {
    let head = Request::head("http://example.com/file")
        .body(String::new())
        .unwrap();
    let server = Server::new([Answer::whole(CONTENT).body("")]);
    download(ResumeLayer::new().layer(server.client()), head)
        .await
        .is("");
    assert_eq!(server.arrived().len(), 1);
}

/// R86 The layer also works around a client with its own error type.
#[tokio::test(start_paused = true)]
async fn an_error_type_of_the_client() {
    let server = Server::new([
        Answer::whole(CONTENT).cut_after(4),
        Answer::rest(CONTENT, 4),
    ]);
    let client = tower::util::MapErr::new(server.client(), |error: BoxError| {
        io::Error::other(error.to_string())
    });
    download(ResumeLayer::new().layer(client), get())
        .await
        .is_whole();
}
