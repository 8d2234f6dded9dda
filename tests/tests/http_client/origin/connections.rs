//! Faults of connections: refused, ended at once, ended while they were idle.

use http::Version;
use tower_keep_test::http::{Origin, Reply};
use tower_keep_tests::servers::{LONG, SHORT};

use super::clients::{hyper, hyper_sees, reqwest, reqwest_sees};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// What both clients see on a new connection.
async fn both_see(origin: &Origin, version: Version) -> [String; 2] {
    [
        reqwest_sees(&reqwest(version), origin, LONG).await,
        hyper_sees(&hyper(version), origin, LONG).await,
    ]
}

/// R81 A refused connection is a connect error, and works again when the origin accepts again.
#[tokio::test]
async fn refused() {
    for version in VERSIONS {
        let origin = Origin::start().await.unwrap();
        origin.refuse().unwrap();
        let [by_reqwest, by_hyper] = both_see(&origin, version).await;
        assert_eq!(by_reqwest, "connect+request: ConnectionRefused");
        assert_eq!(by_hyper, "connect: ConnectionRefused");
        origin.accept().unwrap();
        for seen in both_see(&origin, version).await {
            assert_eq!(seen, "200 b\"\"");
        }
        assert_eq!(origin.received().len(), 2);
    }
}

/// R81 A connection that ends before its first byte is an error of the connection or of the request:
/// the client may have noticed the end before it sent.
#[tokio::test]
async fn ended_at_once() {
    for version in VERSIONS {
        let origin = Origin::start().await.unwrap();
        for reset in [false, true] {
            if reset {
                origin.reset_on_connect();
            } else {
                origin.close_on_connect();
            }
            for seen in both_see(&origin, version).await {
                let causes = [
                    "canceled",
                    "incomplete message",
                    "ConnectionReset",
                    "BrokenPipe",
                    "NotConnected",
                ];
                assert!(
                    causes.iter().any(|cause| seen.ends_with(cause)),
                    "{version:?}, reset {reset}: {seen}"
                );
            }
        }
        assert!(origin.connections() >= 4);
        assert!(origin.received().is_empty());
    }
}

/// R81 A connection that nobody serves is a timeout.
#[tokio::test]
async fn silent() {
    for version in VERSIONS {
        let origin = Origin::start().await.unwrap();
        origin.hang_on_connect();
        let seen = reqwest_sees(&reqwest(version), &origin, SHORT).await;
        assert_eq!(seen, "request+timeout");
        assert_eq!(hyper_sees(&hyper(version), &origin, SHORT).await, "hangs");
    }
}

/// R81 A request that meets the end of an idle connection fails, and the origin never read it. No
/// client without retries sends it again.
#[tokio::test]
async fn ended_on_reuse() {
    for version in VERSIONS {
        for by_reqwest in [true, false] {
            let origin = Origin::start()
                .await
                .unwrap()
                .then(Reply::status(200).close_on_reuse())
                .then(Reply::status(201));
            let (reqwest, hyper) = (reqwest(version), hyper(version));
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(if by_reqwest {
                    reqwest_sees(&reqwest, &origin, LONG).await
                } else {
                    hyper_sees(&hyper, &origin, LONG).await
                });
            }
            assert_eq!(seen[0], "200 b\"\"");
            let causes = [
                "canceled",
                "incomplete message",
                "ConnectionReset",
                "BrokenPipe",
            ];
            assert!(
                causes.iter().any(|cause| seen[1].ends_with(cause)),
                "{version:?}: {}",
                seen[1]
            );
            assert_eq!(seen[2], "201 b\"\"");
            assert_eq!(origin.connections(), 2);
            assert_eq!(origin.received().len(), 2);
        }
    }
}

/// R81 reqwest sends again by itself after REFUSED_STREAM and after a graceful GOAWAY, unless its
/// retries are off. The table's client has them off.
#[tokio::test]
async fn the_hidden_retry_of_reqwest() {
    use tower_keep_test::http::ErrorCode;

    for fault in [Reply::refused_stream(), Reply::go_away(ErrorCode::NO_ERROR)] {
        let origin = Origin::start()
            .await
            .unwrap()
            .then(fault)
            .then(Reply::status(200));
        let client = reqwest::Client::builder()
            .http2_prior_knowledge()
            .no_proxy()
            .build()
            .unwrap();
        assert_eq!(reqwest_sees(&client, &origin, LONG).await, "200 b\"\"");
        let processed: Vec<_> = origin.received().iter().map(|one| one.processed).collect();
        assert_eq!(processed, [false, true]);
    }
}

/// R81 An answer that comes before a long upload ended reaches the client. The connection is used
/// again.
#[tokio::test]
async fn an_early_answer_to_a_long_upload() {
    for version in VERSIONS {
        let origin = Origin::start()
            .await
            .unwrap()
            .then(Reply::status(413).early())
            .then(Reply::status(204));
        let client = reqwest(version);
        let upload = client.post(origin.url("/")).body(vec![0; 4_000_000]);
        assert_eq!(upload.send().await.unwrap().status(), 413);
        let next = client.get(origin.url("/")).send().await.unwrap();
        assert_eq!(next.status(), 204);
        origin.assert_finished();
    }
}
