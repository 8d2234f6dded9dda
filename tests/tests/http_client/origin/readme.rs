//! The example of `tower-keep-test`'s README.

use tower_keep_test::http::{Origin, Reply};

/// R81 The example runs as it is printed.
#[tokio::test]
async fn a_download_that_breaks_off() {
    let origin = Origin::start()
        .await
        .unwrap()
        .then(Reply::status(503).header("retry-after", "1"))
        .then(Reply::status(200).body("0123456789").truncate_after(4));
    let client = reqwest::Client::new();

    let busy = client.get(origin.url("/file")).send().await.unwrap();
    assert_eq!(busy.status(), 503);
    let file = client.get(origin.url("/file")).send().await.unwrap();
    assert!(file.bytes().await.unwrap_err().is_decode());

    assert_eq!(origin.received()[1].path(), "/file");
    origin.assert_finished();
}
