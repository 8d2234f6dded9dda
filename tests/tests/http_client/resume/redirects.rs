//! Redirects that the client follows, and the final URL of a range request.

use http::Version;
use tower::Layer;
use tower_keep::{
    BoxError, ResumeLayer, SendThrough, find,
    http::resume::{NotResumed, NotResumedReason},
};
use tower_keep_test::http::{Origin, Reply};

use super::super::origin::clients;

fn redirect(location: &str) -> Reply {
    Reply::status(302).header("location", location)
}

/// The beginning of a file from one URL, and the rest from another. Both have the entity tag `"1"`.
async fn download(first: &str, second: &str) -> (String, Result<(), BoxError>, usize) {
    let origin = Origin::start().await.unwrap().script([
        redirect(first),
        Reply::status(200)
            .header("etag", "\"1\"")
            .body("0123456789")
            .truncate_after(4),
        redirect(second),
        Reply::status(206)
            .header("etag", "\"1\"")
            .header("content-range", "bytes 4-9/10")
            .body("456789"),
    ]);
    let api = ResumeLayer::new().layer(clients::reqwest(Version::HTTP_11));
    let client = clients::reqwest(Version::HTTP_11);
    let mut response = (client.get(origin.url("/latest")))
        .send_through(&api)
        .await
        .unwrap();
    let mut text = String::new();
    let result = loop {
        match response.chunk().await {
            Ok(Some(data)) => text.push_str(&String::from_utf8_lossy(&data)),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    let requests = origin.received();
    assert!(requests[2..].iter().all(|request| {
        request.header("range") == Some("bytes=4-") && request.header("if-range") == Some("\"1\"")
    }));
    (text, result, requests.len())
}

/// R86 An entity tag belongs to one URL (RFC 9110, section 8.8.1). If a redirect leads the range
/// request to another one, an equal tag proves nothing.
#[tokio::test]
async fn to_another_url() {
    let (text, result, _) = download("/v1/file", "/v2/file").await;
    assert_eq!(text, "0123");
    let error = result.unwrap_err();
    let error = find::<NotResumed>(&*error).unwrap();
    assert_eq!(error.reason(), NotResumedReason::Changed);
}

/// R86 A redirect to the same URL is fine. Its query may differ, as that of a signed URL does.
#[tokio::test]
async fn to_the_same_url() {
    for second in ["/v1/file?signature=1", "/v1/file?signature=2", "/v1/file"] {
        let (text, result, requests) = download("/v1/file?signature=1", second).await;
        result.unwrap();
        assert_eq!((&*text, requests), ("0123456789", 4));
    }
}
