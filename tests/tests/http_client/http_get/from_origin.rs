//! Against a server on the loopback interface, with reqwest and hyper-util.

use futures::future::{join_all, try_join_all};
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_keep::{
    BoxError, DedupLayer, LogLayer, SendThrough, TimeoutLayer, find, http::ErrorKind,
};
use tower_keep_test::{
    Gate,
    http::{Origin, Reply},
    ms, secs,
};
use tower_keep_tests::servers::bounded;

use super::super::origin::clients;

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// R88 1,000 concurrent equal GETs are one exchange, with each client and version.
#[tokio::test]
async fn a_thousand_gets_are_one_exchange() -> Result<(), BoxError> {
    for version in VERSIONS {
        for client in ["hyper", "reqwest"] {
            let gate = Gate::new();
            let reply = Reply::status(200).body("the page").when(&gate);
            let origin = Origin::start().await?.then(reply).repeat_last();
            let dedup = DedupLayer::http_get();
            let handle = dedup.handle();
            let opener = async {
                while handle.counts().joined < 999 {
                    tokio::task::yield_now().await;
                }
                gate.open();
            };
            let pages = async {
                match client {
                    "hyper" => {
                        let api = dedup.layer(clients::hyper(version));
                        let get = async || {
                            let request = Request::get(origin.url("/")).body(Full::default())?;
                            let body = api.clone().oneshot(request).await?.into_body();
                            let page = body.collect().await?.to_bytes();
                            Ok::<_, BoxError>(String::from_utf8(page.to_vec())?)
                        };
                        try_join_all((0..1000).map(|_| get())).await
                    }
                    _ => {
                        let client = clients::reqwest(version);
                        let api = dedup.layer(client.clone());
                        let get = async || {
                            let get = client.get(origin.url("/"));
                            Ok::<_, BoxError>(get.send_through(&api).await?.text().await?)
                        };
                        try_join_all((0..1000).map(|_| get())).await
                    }
                }
            };
            let (pages, ()) = bounded(async { tokio::join!(pages, opener) }).await;
            assert_eq!(pages?, vec!["the page"; 1000]);
            assert_eq!(origin.count(), 1, "{client} {version:?}");
        }
    }
    Ok(())
}

/// R88 A shared `reqwest::Response` keeps its URL, its head, its address and its length, through
/// layers that follow the body.
#[tokio::test]
async fn reqwests_response_stays_whole() -> Result<(), BoxError> {
    let gate = Gate::new();
    let origin = Origin::start().await?.script([
        Reply::status(302).header("location", "/moved?token=1"),
        Reply::status(200)
            .header("x-mark", "7")
            .body(r#"{"page":7}"#)
            .when(&gate),
    ]);
    let client = clients::reqwest(Version::HTTP_11);
    let dedup = DedupLayer::http_get();
    let handle = dedup.handle();
    let api =
        LogLayer::http().layer(TimeoutLayer::http(secs(30)).layer(dedup.layer(client.clone())));
    let get = async || {
        let response = client.get(origin.url("/")).send_through(&api).await?;
        Ok::<_, BoxError>(response)
    };
    let opener = async {
        while handle.counts().joined < 1 {
            tokio::task::yield_now().await;
        }
        gate.open();
        Ok(())
    };
    let (one, other, ()) = tokio::try_join!(get(), get(), opener)?;
    for response in [one, other] {
        assert_eq!(response.url().as_str(), origin.url("/moved?token=1"));
        assert_eq!(response.headers()["x-mark"], "7");
        assert_eq!(response.content_length(), Some(10));
        assert_eq!(response.remote_addr(), Some(origin.address()));
        assert_eq!(response.text().await?, r#"{"page":7}"#);
    }
    assert_eq!(origin.count(), 2);
    Ok(())
}

/// R88 Private answers, long answers and answers that vary are two exchanges. HEAD is one.
#[tokio::test]
async fn what_the_server_says_decides() -> Result<(), BoxError> {
    let page = || Reply::status(200).body("0123456789");
    let rows = [
        ("GET", page(), 1, "0123456789"),
        (
            "GET",
            page().chunked().trailer("x-sum", "45"),
            1,
            "0123456789",
        ),
        ("HEAD", page(), 1, ""),
        ("GET", Reply::status(204), 1, ""),
        ("GET", Reply::status(404).body("none"), 1, "none"),
        (
            "GET",
            page().header("cache-control", "private"),
            2,
            "0123456789",
        ),
        (
            "GET",
            page().header("set-cookie", "user=7"),
            2,
            "0123456789",
        ),
        ("GET", page().header("vary", "*"), 2, "0123456789"),
        (
            "GET",
            Reply::status(200).body("0123456789a"),
            2,
            "0123456789a",
        ),
        (
            "GET",
            Reply::status(200).body("0123456789a").chunked(),
            2,
            "0123456789a",
        ),
        ("GET", Reply::status(500).body("broken"), 2, "broken"),
    ];
    for (method, reply, exchanges, body) in rows {
        for version in VERSIONS {
            let gate = Gate::new();
            let row = format!("{method} {version:?} {reply:?}");
            let origin = Origin::start()
                .await?
                .then(reply.clone().when(&gate))
                .repeat_last();
            let client = clients::reqwest(version);
            let dedup = DedupLayer::http_get().max_body(10);
            let handle = dedup.handle();
            let api = dedup.layer(client.clone());
            let send = async || {
                let request = client.request(method.parse()?, origin.url("/"));
                Ok::<_, BoxError>(request.send_through(&api).await?.text().await?)
            };
            let opener = async {
                while handle.counts().joined < 1 {
                    tokio::task::yield_now().await;
                }
                gate.open();
                Ok(())
            };
            let (one, other, ()) =
                bounded(async { tokio::try_join!(send(), send(), opener) }).await?;
            assert_eq!([&*one, &*other], [body, body], "{row}");
            assert_eq!(origin.count(), exchanges, "{row}");
        }
    }
    Ok(())
}

/// R88 A shared body that the server cuts is an error of the call, of the right kind.
#[tokio::test]
async fn a_body_that_is_cut() -> Result<(), BoxError> {
    let origin = Origin::start()
        .await?
        .then(Reply::status(200).body("0123456789").truncate_after(4))
        .repeat_last();
    let request = || Request::get(origin.url("/")).body(Full::default());
    let api = DedupLayer::http_get().layer(clients::hyper(Version::HTTP_11));
    let calls = [
        api.clone().oneshot(request()?),
        api.clone().oneshot(request()?),
    ];
    for result in join_all(calls).await {
        let error = result.map(drop).unwrap_err();
        assert_eq!(ErrorKind::of(&*error), ErrorKind::BodyTruncated);
    }
    assert_eq!(origin.count(), 1);

    let client = clients::reqwest(Version::HTTP_11);
    let api = DedupLayer::http_get().layer(client.clone());
    let sent = client.get(origin.url("/")).send_through(&api).await;
    let error = sent.map(drop).unwrap_err();
    assert_eq!(ErrorKind::of(&*error), ErrorKind::BodyTruncated);
    Ok(())
}

/// R88 Every other request passes, with its own body and its own stream.
#[tokio::test]
async fn a_post_passes_through() -> Result<(), BoxError> {
    let origin = Origin::start()
        .await?
        .then(Reply::status(201).body("made"))
        .repeat_last();
    let client = clients::reqwest(Version::HTTP_11);
    let api = DedupLayer::http_get().layer(client.clone());
    let post = client.post(origin.url("/")).body("a page");
    let response = post.send_through(&api).await?;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.text().await?, "made");
    assert_eq!(origin.received()[0].body, "a page");
    Ok(())
}

/// R88 The timeout of a reqwest request counts: it would end the exchange of the others too.
#[tokio::test]
async fn the_timeout_of_a_request_is_its_own() -> Result<(), BoxError> {
    let gate = Gate::new();
    let origin = Origin::start()
        .await?
        .then(Reply::status(200).body("the page").when(&gate))
        .repeat_last();
    let client = clients::reqwest(Version::HTTP_11);
    let api = DedupLayer::http_get().layer(client.clone());
    let get = || client.get(origin.url("/"));
    let hasty = async {
        let sent = get().timeout(ms(50)).send_through(&api).await;
        gate.open();
        sent.map(drop)
    };
    let patient = async {
        let one = get().send_through(&api);
        let other = get().send_through(&api);
        tokio::try_join!(one, other)
    };
    let (hasty, patient) = bounded(async { tokio::join!(hasty, patient) }).await;
    let hasty = hasty.unwrap_err();
    assert!(find::<reqwest::Error>(&*hasty).is_some_and(reqwest::Error::is_timeout));
    let (one, other) = patient?;
    assert_eq!([one.text().await?, other.text().await?], ["the page"; 2]);
    assert_eq!(origin.count(), 2);
    Ok(())
}
