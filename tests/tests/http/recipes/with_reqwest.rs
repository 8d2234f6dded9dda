//! The reqwest recipe: what it retries, what it shares, and what a dead host does.

use axum::{Router, routing};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_keep::{circuit_breaker::Open, find};
use tower_keep_tests::servers::{Count, LONG, Server, bounded, refusing, reqwest_client};

use super::{code::reqwest_recipe, count, defended, records};

/// The reqwest recipe: a POST is sent once, whatever comes back, and the log calls it failed.
#[tokio::test]
async fn reqwest_posts_once() {
    bounded(async {
        let (records, _guard) = records();
        let orders = Count::default();
        let placed = orders.clone();
        let order = move || async move {
            placed.next();
            StatusCode::BAD_GATEWAY
        };
        let server = Server::axum(Router::new().route("/orders", routing::any(order))).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let url: reqwest::Url = server.url("/orders").parse().unwrap();
        let mut post = reqwest::Request::new(reqwest::Method::POST, url.clone());
        *post.body_mut() = Some("one".into());
        let answer = fetch.clone().oneshot(post).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(orders.get(), 1);
        let written = records();
        assert_eq!(count(&written, "succeeded"), 0, "{written}");
        assert_eq!(
            count(&written, "the server answered 502 Bad Gateway"),
            1,
            "{written}"
        );

        // A PUT may be repeated, and the log says what came of each attempt.
        let put = reqwest::Request::new(reqwest::Method::PUT, url);
        fetch.oneshot(put).await.unwrap();
        assert_eq!(orders.get(), 5);
        let written = records();
        assert_eq!(count(&written, "retry scheduled"), 3, "{written}");
        assert_eq!(
            count(&written, "the server answered 502 Bad Gateway"),
            5,
            "{written}"
        );
    })
    .await;
}

/// The reqwest recipe: a dead host's circuit opens, those of others do not, and the log has the
/// cause.
#[tokio::test]
async fn reqwest_with_a_dead_host() {
    bounded(async {
        let (records, _guard) = records();
        let (_port, dead) = refusing();
        let alive =
            Server::axum(Router::new().route("/", routing::get(|| async { "alive" }))).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let get = |url: String| {
            let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
            fetch.clone().oneshot(request)
        };
        for _ in 0..7 {
            get(format!("http://{dead}/?token=secret"))
                .await
                .unwrap_err();
        }
        let error = get(format!("http://{dead}/")).await.unwrap_err();
        assert!(find::<Open>(&*error).is_some(), "{error}");
        assert_eq!(get(alive.url("/")).await.unwrap().body(), "alive");
        let records = records();
        assert!(count(&records, "Connection refused") > 6, "{records}");
        assert!(!records.contains("secret"), "{records}");
        // The budget is the host's own: three retries and no more.
        assert_eq!(count(&records, "retry scheduled"), 3, "{records}");
        assert_eq!(count(&records, "rejected"), 2, "{records}");
    })
    .await;
}

/// The reqwest recipe gets a response, also where two callers share it.
#[tokio::test]
async fn reqwest() {
    bounded(async {
        let (app, _) = defended(CancellationToken::new(), LONG);
        let server = Server::axum(app).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let url = server.url("/report");
        let request = || reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
        let (one, two) = tokio::join!(
            fetch.clone().oneshot(request()),
            fetch.clone().oneshot(request()),
        );
        assert_eq!(one.unwrap().body(), two.unwrap().body());
    })
    .await;
}

/// Two users who ask the reqwest recipe for the same page at the same time get a page each.
#[tokio::test]
async fn reqwest_by_two_users() {
    bounded(async {
        let page = |headers: HeaderMap| async move {
            let user = headers.get(AUTHORIZATION);
            format!("page of {:?}", user.expect("a user asks"))
        };
        let server = Server::axum(Router::new().route("/page", routing::get(page))).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let url = server.url("/page");
        let page_of = |user: &str| {
            let mut request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, user.parse().unwrap());
            fetch.clone().oneshot(request)
        };
        let (one, other) = tokio::join!(page_of("Basic one"), page_of("Basic other"));
        assert_eq!(one.unwrap().body(), "page of \"Basic one\"");
        assert_eq!(other.unwrap().body(), "page of \"Basic other\"");
    })
    .await;
}
