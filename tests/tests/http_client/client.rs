//! The whole stack around reqwest, as its users write it, against a misbehaving origin.

use std::sync::{Arc, Mutex};

use tower::Layer;
use tower_keep::{BoxError, Event, LogLayer, Pipeline, Rejection, SendThrough, http::HttpClient};
use tower_keep_test::http::{Origin, Reply};

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().retry(reqwest::retry::never());
    client.no_proxy().build().unwrap()
}

/// R80 R81 The defaults retry a GET that got 503, and tell one story about it.
#[tokio::test]
async fn a_get_is_retried() -> Result<(), BoxError> {
    let origin = Origin::start()
        .await?
        .then(Reply::status(503))
        .then(Reply::status(200).body("page"));
    let client = client();
    let told = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&told);
    let log = LogLayer::http_to(move |event: &Event| {
        let http = event.http.as_ref().unwrap();
        let status = http.status.map_or(0, |status| status.as_u16());
        lines
            .lock()
            .unwrap()
            .push(format!("{} {} {status}", event.kind.name(), http.method));
    });
    let api = Pipeline::http_client()
        .log(log)
        .build()?
        .layer(client.clone());
    let response = client
        .get(origin.url("/page?token=secret"))
        .query(&[("q", "1")])
        .send_through(&api)
        .await?;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await?, "page");
    assert_eq!(origin.received().len(), 2);
    let told = told.lock().unwrap();
    println!("{told:#?}");
    assert_eq!(told.last().unwrap(), "succeeded GET 200");
    Ok(())
}

/// R80 A POST reaches the origin once.
#[tokio::test]
async fn a_post_is_sent_once() -> Result<(), BoxError> {
    let origin = Origin::start()
        .await?
        .then(Reply::status(503))
        .repeat_last();
    let client = client();
    let api: HttpClient<reqwest::Client> = Pipeline::http_client().build()?.layer(client.clone());
    let response = client
        .post(origin.url("/orders"))
        .json(&1)
        .send_through(&api)
        .await?;
    assert_eq!(response.status(), 503);
    assert_eq!(origin.received().len(), 1);
    Ok(())
}

/// R80 A POST to a server that refuses connections is retried, and says so.
#[tokio::test]
async fn a_post_that_was_never_sent_is_retried() -> Result<(), BoxError> {
    let origin = Origin::start().await?;
    origin.refuse()?;
    let client = client();
    let api = Pipeline::http_client().build()?.layer(client.clone());
    let call = tokio::spawn(
        client
            .post(origin.url("/orders?token=secret"))
            .json(&1)
            .send_through(&api),
    );
    let error = call.await?.unwrap_err();
    println!("{error}");
    assert_eq!(Rejection::of(&*error), None);
    Ok(())
}
