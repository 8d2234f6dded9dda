//! The reqwest recipe: what it repeats, what its log says, and what a dead host does.

use axum::{Router, routing};
use http::StatusCode;
use tower_keep::{circuit_breaker::Open, find};
use tower_keep_tests::servers::{Count, Server, bounded, refusing};

use super::{code::reqwest_recipe::Shop, count, records};

/// The reqwest recipe: a POST is sent once, whatever comes back, and the log calls it failed. A GET
/// is repeated, and the log says what came of each attempt.
#[tokio::test]
async fn reqwest_posts_once() {
    bounded(async {
        let (records, _guard) = records();
        let requests = Count::default();
        let counted = requests.clone();
        let broken = move || async move {
            counted.next();
            StatusCode::BAD_GATEWAY
        };
        let server = Server::axum(Router::new().route("/orders", routing::any(broken))).await;
        let shop = Shop::new(server.url("")).unwrap();
        let error = shop.order("one").await.unwrap_err();
        assert!(error.to_string().contains("502"), "{error}");
        assert_eq!(requests.get(), 1);
        let written = records();
        assert_eq!(count(&written, "succeeded"), 0, "{written}");
        assert_eq!(count(&written, "the server answered 502"), 1, "{written}");

        shop.orders("secret").await.unwrap_err();
        assert_eq!(requests.get(), 5);
        let written = records();
        assert_eq!(count(&written, "retry scheduled"), 3, "{written}");
        assert_eq!(count(&written, "the server answered 502"), 5, "{written}");
        assert!(!written.contains("secret"), "{written}");
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
        let orders = routing::get(|| async { "two orders" });
        let alive = Server::axum(Router::new().route("/orders", orders)).await;
        let mut shop = Shop::new(format!("http://{dead}")).unwrap();
        for _ in 0..6 {
            shop.orders("secret").await.unwrap_err();
        }
        let error = shop.orders("secret").await.unwrap_err();
        assert!(find::<Open>(&*error).is_some(), "{error}");
        // The same stack, for another host.
        shop.url = alive.url("");
        assert_eq!(shop.orders("secret").await.unwrap(), "two orders");
        let records = records();
        assert!(count(&records, "Connection refused") > 6, "{records}");
        assert!(!records.contains("secret"), "{records}");
        assert_eq!(count(&records, "rejected"), 1, "{records}");
    })
    .await;
}
