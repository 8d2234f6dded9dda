//! Which requests share an answer, and what each caller gets.

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use tower::{Layer, ServiceExt};
use tower_keep::{DedupLayer, http::shared_get::GetBody};
use tower_keep_tests::begin;

use super::{Site, Step, Steps, answer, are_distinct, get, text, texts, with};

/// R88 1,000 concurrent equal GETs are one exchange, whatever the case of the host, the port of the
/// scheme and the fragment.
#[tokio::test(start_paused = true)]
async fn a_thousand_equal_gets_are_one_exchange() {
    let site = Site::default();
    let dedup = DedupLayer::http_get();
    let handle = dedup.handle();
    let mut client = dedup.layer(site.numbered(200, &[]));
    let urls = [
        "https://example.com/page?q=1",
        "HTTPS://EXAMPLE.com/page?q=1",
        "https://example.com:443/page?q=1#part",
    ];
    let requests = (0..1000).map(|number: usize| {
        let url = urls[number % urls.len()];
        Request::get(url).body(String::new()).unwrap()
    });
    let bodies = texts(&mut client, requests).await;
    assert_eq!(bodies, vec!["0"; 1000]);
    assert_eq!(site.exchanges(), 1);
    let counts = handle.counts();
    assert_eq!((counts.executions, counts.joined), (1, 999));

    // Nothing was stored.
    assert_eq!(texts(&mut client, [get("/page?q=1")]).await, ["1"]);
    assert_eq!(dedup.in_flight(), 0);
}

/// R88 The bytes are not copied for each caller.
#[tokio::test(start_paused = true)]
async fn the_callers_share_the_memory() {
    let site = Site::default();
    let page = Bytes::from(vec![7; 100_000]);
    let body = page.clone();
    let mut client = DedupLayer::http_get()
        .layer(site.client(move |_, _| Response::new(Full::new(body.clone()))));
    let (one, other) = (
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    );
    for response in join_all([one, other]).await {
        let response = response.unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(100_000));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.as_ptr(), page.as_ptr());
    }
}

/// R88 Requests that differ in what the answer may depend on are two exchanges.
#[tokio::test(start_paused = true)]
async fn requests_that_differ_do_not_share() {
    for (other, differs) in [
        (with("HEAD", "/?a", &[]), true),
        (get("/?b"), true),
        (get("/"), true),
        (get("/x?a"), true),
        (
            Request::get("http://example.com/?a")
                .body(String::new())
                .unwrap(),
            true,
        ),
        (
            Request::get("https://example.com:8443/?a")
                .body(String::new())
                .unwrap(),
            true,
        ),
        (
            Request::get("https://me:secret@example.com/?a")
                .body(String::new())
                .unwrap(),
            true,
        ),
        (with("GET", "/?a", &[("authorization", "Bearer x")]), true),
        (with("GET", "/?a", &[("cookie", "user=7")]), true),
        (with("GET", "/?a", &[("x-api-key", "7")]), true),
        (with("GET", "/?a", &[("accept", "text/html")]), true),
        (with("GET", "/?a", &[("range", "bytes=0-1")]), true),
        (with("GET", "/?a", &[("if-none-match", "\"a\"")]), true),
        (with("GET", "/?a", &[("host", "other.example")]), true),
        (with("GET", "/?a", &[("traceparent", "00-1-2-3")]), false),
        (with("GET", "/?a", &[("X-Request-Id", "7")]), false),
        (with("GET", "/?a", &[("x-datadog-parent-id", "7")]), false),
        (with("GET", "/?a", &[("x-instana-t", "7")]), false),
        (with("GET", "/?a", &[("baggage", "userId=alice")]), true),
        (get("/?a"), false),
    ] {
        let site = Site::default();
        let mut client = DedupLayer::http_get().layer(site.numbered(200, &[]));
        let what = format!("{other:?}");
        texts(&mut client, [get("/?a"), other]).await;
        assert_eq!(site.exchanges(), 1 + usize::from(differs), "{what}");
    }
}

/// R88 The order of headers does not matter, and the order of the values of one header does.
#[tokio::test(start_paused = true)]
async fn equal_headers_in_another_order() {
    let one = with("GET", "/", &[("x-a", "1"), ("x-b", "1"), ("x-b", "2")]);
    for (headers, exchanges) in [
        ([("x-b", "1"), ("x-a", "1"), ("x-b", "2")], 1),
        ([("x-b", "2"), ("x-a", "1"), ("x-b", "1")], 2),
    ] {
        let site = Site::default();
        let mut client = DedupLayer::http_get().layer(site.numbered(200, &[]));
        texts(&mut client, [one.clone(), with("GET", "/", &headers)]).await;
        assert_eq!(site.exchanges(), exchanges);
    }
}

/// R88 A header that the user ignores does not count.
#[tokio::test(start_paused = true)]
async fn an_ignored_header_does_not_count() {
    let site = Site::default();
    let dedup = DedupLayer::http_get().ignore_header(HeaderName::from_static("x-sent-at"));
    let mut client = dedup.layer(site.numbered(200, &[]));
    let sent_at = |at| with("GET", "/", &[("x-sent-at", at)]);
    assert_eq!(
        texts(&mut client, [sent_at("1"), sent_at("2")]).await,
        ["0", "0"]
    );
}

/// R88 These requests pass through: each is its own exchange at once, and has no key.
#[tokio::test(start_paused = true)]
async fn other_requests_pass_through() {
    let with_body = |method: &str| {
        let mut request = with(method, "/", &[]);
        *request.body_mut() = "body".to_owned();
        request
    };
    for request in [
        with("POST", "/", &[]),
        with("PUT", "/", &[]),
        with("OPTIONS", "/", &[]),
        with_body("GET"),
        with_body("POST"),
        with("GET", "/", &[("cache-control", "no-cache")]),
        with("GET", "/", &[("cache-control", "no-store")]),
        with("GET", "/", &[("cache-control", "max-age=0")]),
        with("GET", "/", &[("cache-control", "\"")]),
        with("GET", "/", &[("pragma", "no-cache")]),
        with("GET", "/", &[("upgrade", "websocket")]),
        with("GET", "/", &[("expect", "100-continue")]),
        with("GET", "/", &[("accept", "text/event-stream")]),
    ] {
        let site = Site::default();
        let dedup = DedupLayer::http_get();
        let mut client = dedup.layer(site.numbered(200, &[]));
        let what = format!("{request:?}");
        let call = begin(&mut client, request.clone()).await;
        assert_eq!(dedup.in_flight(), 0, "{what}");
        drop(call);
        let bodies = texts(&mut client, [request.clone(), request]).await;
        assert!(are_distinct(&bodies), "{what}");
    }
}

/// R88 An answer of one caller goes to one caller. The others send their own requests, all at once.
#[tokio::test(start_paused = true)]
async fn an_answer_of_one_caller_is_not_shared() {
    const HEADS: [(u16, &[(&str, &str)]); 9] = [
        (200, &[("cache-control", "private, max-age=60")]),
        (200, &[("cache-control", "no-store")]),
        (200, &[("cache-control", "no-cache=\"x\"")]),
        (200, &[("cache-control", "max-age=0")]),
        (
            200,
            &[("set-cookie", "user=7"), ("cache-control", "public")],
        ),
        (200, &[("vary", "*")]),
        (200, &[("content-type", "text/event-stream")]),
        (401, &[("www-authenticate", "Basic")]),
        (503, &[]),
    ];
    for (status, headers) in HEADS {
        let site = Site::default();
        let mut client = DedupLayer::http_get().layer(site.numbered(status, headers));
        let start = tokio::time::Instant::now();
        let bodies = texts(&mut client, (0..10).map(|_| get("/"))).await;
        assert!(are_distinct(&bodies), "{headers:?}: {bodies:?}");
        assert_eq!(site.exchanges(), 10, "{headers:?}");
        // The exchange that was not shared, and one more for the others.
        assert_eq!(start.elapsed().as_secs(), 2, "{headers:?}");
    }
}

/// R88 An answer that was fresh when the server sent it, and took too long, is not shared.
#[tokio::test(start_paused = true)]
async fn an_answer_that_grew_old_is_not_shared() {
    for (lifetime, exchanges) in [("max-age=1", 2), ("max-age=2", 1)] {
        let site = Site::default();
        let mut client = DedupLayer::http_get().layer(site.client(move |_, _| {
            answer(200, &[("cache-control", lifetime)])
                .body("page".to_owned())
                .unwrap()
        }));
        let bodies = texts(&mut client, [get("/"), get("/")]).await;
        assert_eq!(bodies, ["page", "page"]);
        assert_eq!(site.exchanges(), exchanges, "{lifetime}");
    }
}

/// R88 If the answer varies by a field that does not count, callers with the leader's values share
/// it, and others send their own requests.
#[tokio::test(start_paused = true)]
async fn vary_selects_the_callers() {
    let site = Site::default();
    let dedup = DedupLayer::http_get().ignore_header(HeaderName::from_static("x-tenant"));
    let mut client = dedup.layer(site.client(|number, request| {
        let tenant = request.headers().get("x-tenant");
        let tenant = tenant.map_or("none", |tenant| tenant.to_str().unwrap());
        answer(200, &[("vary", "accept, X-Tenant")])
            .body(format!("{number} {tenant}"))
            .unwrap()
    }));
    let of = |tenant| with("GET", "/", &[("x-tenant", tenant)]);
    let requests = [of("a"), of("b"), of("a"), get("/"), of("b")];
    let mut bodies = texts(&mut client, requests).await;
    assert_eq!([&*bodies[0], &*bodies[2]], ["0 a", "0 a"]);
    let others: Vec<_> = bodies
        .drain(..)
        .enumerate()
        .filter(|(at, _)| ![0, 2].contains(at))
        .collect();
    let tenants: Vec<_> = others.iter().map(|(_, body)| &body[2..]).collect();
    assert_eq!(tenants, ["b", "none", "b"]);
    assert_eq!(site.exchanges(), 4);
}

/// R88 HEAD, 204, 206 and 304 are shared with their heads, and without a body.
#[tokio::test(start_paused = true)]
async fn answers_without_a_body_are_shared() {
    for (request, status, body) in [
        (with("HEAD", "/", &[]), 200, ""),
        (get("/"), 204, ""),
        (with("GET", "/", &[("if-none-match", "\"a\"")]), 304, ""),
        (with("GET", "/", &[("range", "bytes=2-3")]), 206, "23"),
    ] {
        let site = Site::default();
        // The length in the head of an answer to HEAD does not count.
        let mut client = DedupLayer::http_get()
            .max_body(10)
            .layer(site.client(move |_, _| {
                answer(status, &[("content-length", "1000"), ("etag", "\"a\"")])
                    .body(body.to_owned())
                    .unwrap()
            }));
        let calls = [
            begin(&mut client, request.clone()).await,
            begin(&mut client, request).await,
        ];
        for response in join_all(calls).await {
            let response = response.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["etag"], "\"a\"");
            assert_eq!(response.body().is_end_stream(), body.is_empty());
            assert_eq!(text(response).await, body);
        }
        assert_eq!(site.exchanges(), 1, "{status}");
    }
}

/// R88 Frames, waits and trailers of a shared body come together.
#[tokio::test(start_paused = true)]
async fn a_shared_body_is_whole() {
    let site = Site::default();
    let mut client = DedupLayer::http_get().layer(site.client(|_, _| {
        Response::new(Steps::new([
            Step::Data("one "),
            Step::Data(""),
            Step::Data("page"),
            Step::Trailers,
        ]))
    }));
    let calls = [
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    ];
    for response in join_all(calls).await {
        let body = response.unwrap().into_body();
        assert_eq!(body.size_hint().exact(), Some(8));
        let body = body.collect().await.unwrap();
        assert!(body.trailers().is_some());
        assert_eq!(body.to_bytes(), "one page");
    }
    assert_eq!(site.exchanges(), 1);
}

/// R88 A body above the cap goes to one caller, whole: by its length, or once it was found too
/// long. A body at the cap is shared.
#[tokio::test(start_paused = true)]
async fn a_large_body_goes_to_one_caller() {
    for (max, is_exact, exchanges) in [
        (9, true, 3),
        (9, false, 3),
        (0, false, 3),
        (10, true, 1),
        (10, false, 1),
    ] {
        let site = Site::default();
        let dedup = DedupLayer::http_get().max_body(max);
        let mut client = dedup.layer(site.client(move |_, _| {
            let body = Steps::new([Step::Data("01234"), Step::Data("56789"), Step::Trailers]);
            Response::new(if is_exact { body.exact() } else { body })
        }));
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(begin(&mut client, get("/")).await);
        }
        for response in join_all(calls).await {
            let body = response.unwrap().into_body();
            if is_exact || exchanges == 1 {
                assert_eq!(body.size_hint().exact(), Some(10), "{max} {is_exact}");
            } else {
                assert!(body.size_hint().lower() <= 10);
            }
            let body = body.collect().await.unwrap();
            assert!(body.trailers().is_some(), "{max} {is_exact}");
            assert_eq!(body.to_bytes(), "0123456789", "{max} {is_exact}");
        }
        assert_eq!(site.exchanges(), exchanges, "{max} {is_exact}");
    }
}

/// R88 Bodies without a cap set are shared up to 1 MiB.
#[tokio::test(start_paused = true)]
async fn the_default_cap_is_a_mebibyte() {
    for (length, exchanges) in [(1 << 20, 1), ((1 << 20) + 1, 2)] {
        let site = Site::default();
        let mut client = DedupLayer::http_get()
            .layer(site.client(move |_, _| Response::new("x".repeat(length))));
        let bodies = texts(&mut client, [get("/"), get("/")]).await;
        assert!(bodies.iter().all(|body| body.len() == length));
        assert_eq!(site.exchanges(), exchanges);
    }
}

/// R88 The body type is `Unpin`, `Send` and `Sync` if the client's is.
#[tokio::test(start_paused = true)]
async fn the_body_can_be_moved() {
    fn is_handy<T: Unpin + Send + Sync>() {}
    is_handy::<GetBody<Full<Bytes>>>();
    let client = DedupLayer::http_get().layer(Site::default().numbered(200, &[]));
    let response = client.oneshot(get("/")).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "0"
    );
    assert!(body.frame().await.is_none());
}
