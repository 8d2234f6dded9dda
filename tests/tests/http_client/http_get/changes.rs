//! A GET after a request that changed its URL: RFC 9111, section 4.4.

use std::sync::atomic::Ordering;

use http::Request;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_keep::{BoxError, DedupLayer};
use tower_keep_test::secs;
use tower_keep_tests::begin;

use super::{Site, answer, get, text, with};

/// R88 A GET after a POST to its URL joins no exchange from before. An unsafe request changes nothing
/// if it failed, if it went to another URL, or while it waits for its answer.
#[tokio::test(start_paused = true)]
async fn a_get_sees_an_earlier_post() {
    for (method, path, status, number) in [
        ("POST", "/page?q", 201, "2"),
        ("DELETE", "/page?q", 204, "2"),
        ("PUT", "/page?q", 303, "2"),
        ("POST", "/page?q", 404, "0"),
        ("POST", "/page?q", 500, "0"),
        ("POST", "/page", 201, "0"),
        ("OPTIONS", "/page?q", 200, "0"),
    ] {
        let site = Site::default();
        let exchanges = site.clone();
        let slow = service_fn(move |request: Request<String>| {
            let number = exchanges.exchanges.fetch_add(1, Ordering::SeqCst);
            async move {
                let is_get = request.method() == "GET";
                tokio::time::sleep(secs(if is_get { 9 } else { 1 })).await;
                let status = if is_get { 200 } else { status };
                Ok::<_, BoxError>(answer(status, &[]).body(number.to_string())?)
            }
        });
        let what = format!("{method} {path} {status}");
        let mut client = DedupLayer::http_get().layer(slow);
        let before = tokio::spawn(begin(&mut client, get("/page?q")).await);
        tokio::task::yield_now().await;
        let change = begin(&mut client, with(method, path, &[])).await;
        let meanwhile = begin(&mut client, get("/page?q")).await;
        change.await.unwrap();
        let after = begin(&mut client, get("/page?q")).await;
        let (before, meanwhile, after) = tokio::join!(before, meanwhile, after);
        assert_eq!(text(before.unwrap().unwrap()).await, "0", "{what}");
        assert_eq!(text(meanwhile.unwrap()).await, "0", "{what}");
        assert_eq!(text(after.unwrap()).await, number, "{what}");
    }
}

/// R88 An unsafe request without an answer may have changed its URL.
#[tokio::test(start_paused = true)]
async fn a_get_sees_a_post_without_an_answer() {
    let site = Site::default();
    let inner = ServiceBuilder::new()
        .filter(|request: Request<String>| match request.method().as_str() {
            "GET" => Ok(request),
            _ => Err(BoxError::from("reset")),
        })
        .service(site.numbered(200, &[]));
    let mut client = DedupLayer::http_get().layer(inner);
    let before = tokio::spawn(begin(&mut client, get("/")).await);
    tokio::task::yield_now().await;
    let post = begin(&mut client, with("POST", "/", &[])).await;
    post.await.map(drop).unwrap_err();
    let after = begin(&mut client, get("/")).await;
    let (before, after) = tokio::join!(before, after);
    assert_eq!(text(before.unwrap().unwrap()).await, "0");
    assert_eq!(text(after.unwrap()).await, "1");
}

/// R88 An unsafe request that is dropped before its answer, or panics, may have changed its URL.
#[tokio::test(start_paused = true)]
async fn a_get_sees_a_post_that_was_dropped() {
    for (how, limit) in [("dropped", 1), ("panics", 9)] {
        let site = Site::default();
        let exchanges = site.clone();
        let inner = service_fn(move |request: Request<String>| {
            let number = exchanges.exchanges.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(secs(5)).await;
                assert!(request.method() == "GET", "broken");
                Ok::<_, BoxError>(answer(200, &[]).body(number.to_string())?)
            }
        });
        let dedup = DedupLayer::http_get();
        let mut client = dedup.layer(inner);
        let post = begin(&mut client, with("POST", "/", &[])).await;
        let post = tokio::spawn(tokio::time::timeout(secs(limit), post));
        let before = tokio::spawn(begin(&mut client, get("/")).await);
        assert!(!matches!(post.await, Ok(Ok(_))), "{how}");
        if how == "dropped" {
            assert_eq!(dedup.in_flight(), 0, "the key is free");
        }
        let after = begin(&mut client, get("/")).await;
        let (before, after) = tokio::join!(before, after);
        assert_eq!(text(before.unwrap().unwrap()).await, "1", "{how}");
        assert_eq!(text(after.unwrap()).await, "2", "{how}");
    }
}

/// R88 User information is no part of the URL that a request changes.
#[tokio::test(start_paused = true)]
async fn a_get_sees_a_post_of_another_user() {
    let site = Site::default();
    let mut client =
        DedupLayer::http_get().layer(site.numbered(201, &[("cache-control", "public")]));
    let before = tokio::spawn(begin(&mut client, get("/")).await);
    tokio::time::sleep(secs(1) / 2).await;
    let post = Request::post("https://me:secret@example.com/").body(String::new());
    let post = begin(&mut client, post.unwrap()).await;
    drop(post);
    let after = begin(&mut client, get("/")).await;
    let (before, after) = tokio::join!(before, after);
    assert_eq!(text(before.unwrap().unwrap()).await, "0");
    assert_ne!(text(after.unwrap()).await, "0");
}
