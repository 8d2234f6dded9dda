//! reqwest's client behind the whole stack, and an error type of the program: `cargo run -p recipe-reqwest`

use reqwest::{Client, StatusCode, redirect, retry};
use tower::Layer;
use tower_keep::{BoxError, Pipeline, Rejection, SendThrough, find, http::HttpClient};
use tower_keep_test::http::{Origin, Reply};

/// What the callers of the shop want to tell apart.
#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("the shop has no such order")]
    NotFound,
    #[error("the shop was down a moment ago")]
    CircuitOpen,
    #[error("the shop is unavailable")]
    Unavailable(#[source] BoxError),
}

impl From<BoxError> for ShopError {
    fn from(error: BoxError) -> Self {
        let status = find::<reqwest::Error>(&*error).and_then(reqwest::Error::status);
        match (Rejection::of(&*error), status) {
            (Some(Rejection::CircuitOpen), _) => Self::CircuitOpen,
            (_, Some(StatusCode::NOT_FOUND)) => Self::NotFound,
            _ => Self::Unavailable(error),
        }
    }
}

impl From<reqwest::Error> for ShopError {
    fn from(error: reqwest::Error) -> Self {
        BoxError::from(error).into()
    }
}

struct Shop {
    client: Client,
    stack: HttpClient<Client>,
}

impl Shop {
    fn new() -> Result<Self, BoxError> {
        let client = Client::builder()
            .no_proxy()
            .retry(retry::never()) // The stack retries, so reqwest itself must not.
            .redirect(redirect::Policy::none()) // It would hide what came of a POST.
            .build()?;
        let stack = Pipeline::http_client().build()?.layer(client.clone());
        Ok(Self { client, stack })
    }

    async fn order(&self, url: String) -> Result<String, ShopError> {
        let response = self.client.get(url).send_through(&self.stack).await?;
        Ok(response.error_for_status()?.text().await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let busy = || Reply::status(503).header("retry-after", "0");
    let order = Reply::status(200).body("two towers");
    let script = [busy(), Reply::close(), order, Reply::status(404), busy()];
    let server = Origin::start().await?.script(script).repeat_last();
    let shop = Shop::new()?;

    let order = shop.order(server.url("/orders/7")).await?;
    println!("{order}, requests: {}", server.count());
    assert_eq!((&*order, server.count()), ("two towers", 3));

    let missing = shop.order(server.url("/orders/8")).await.unwrap_err();
    println!("{missing}, requests: {}", server.count() - 3);
    assert!(matches!(missing, ShopError::NotFound));
    assert_eq!(server.count(), 4);

    // The sixth failed call opens the circuit of this server.
    for call in 1..=7 {
        let requests = server.count();
        let error = shop.order(server.url("/orders/9")).await.unwrap_err();
        let requests = server.count() - requests;
        println!("{error}, requests: {requests}");
        assert_eq!(matches!(error, ShopError::CircuitOpen), call == 7);
        assert_eq!(requests, if call == 7 { 0 } else { 4 });
    }
    Ok(())
}
