//! A reqwest client behind the whole stack: a failed GET is sent again, a POST is not. Run it:
//! `cargo run --example reqwest`

use reqwest::{Client, Method};
use tower::Layer;
use tower_keep::{BoxError, IdempotencyKeyLayer, Pipeline, SendThrough};
use tower_keep_test::http::{Origin, Reply};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Answers 503 until it is asked for the third time.
    let busy = || Reply::status(503).header("retry-after", "0");
    let script = || [busy(), busy(), Reply::status(200)];

    // The stack retries, so reqwest itself must not.
    let client = Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()?;
    let api = Pipeline::http_client().build()?.layer(client.clone());
    // For a server that honours the key, a POST may be repeated too.
    let keyed = IdempotencyKeyLayer::new().layer(api.clone());

    for (method, expected) in [(Method::GET, (200, 3)), (Method::POST, (503, 1))] {
        let server = Origin::start().await?.script(script());
        let request = client
            .request(method.clone(), server.url("/orders"))
            .body("{}");
        let status = request.send_through(&api).await?.status();
        let requests = server.received().len();
        println!("{method}: {status}, requests made: {requests}");
        assert_eq!((status.as_u16(), requests), expected);
    }

    let server = Origin::start().await?.script(script());
    let status = client
        .post(server.url("/orders"))
        .send_through(&keyed)
        .await?
        .status();
    let keys = server
        .received()
        .iter()
        .filter(|request| request.header("idempotency-key").is_some())
        .count();
    println!("POST with a key: {status}, requests made: {keys}");
    assert_eq!((status.as_u16(), keys), (200, 3));
    Ok(())
}
