//! README: wrap a reqwest client.

use reqwest::Client;
use tower::Layer;
use tower_keep::{BoxError, Pipeline, SendThrough, http::HttpClient};

#[derive(Clone)]
pub(crate) struct Shop {
    client: Client,
    stack: HttpClient<Client>,
    pub(crate) url: String,
}

impl Shop {
    pub(crate) fn new(url: String) -> Result<Self, BoxError> {
        let client = Client::builder()
            .retry(reqwest::retry::never()) // The stack retries, so reqwest itself must not.
            .redirect(reqwest::redirect::Policy::none()) // It would hide what came of a POST.
            .build()?;
        let stack = Pipeline::http_client().build()?.layer(client.clone());
        Ok(Self { client, stack, url })
    }

    pub(crate) async fn orders(&self, token: &str) -> Result<String, BoxError> {
        let request = self
            .client
            .get(format!("{}/orders", self.url))
            .query(&[("token", token)]);
        Ok(request
            .send_through(&self.stack)
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    pub(crate) async fn order(&self, wanted: &str) -> Result<(), BoxError> {
        let request = self
            .client
            .post(format!("{}/orders", self.url))
            .body(wanted.to_owned());
        request
            .send_through(&self.stack)
            .await?
            .error_for_status()?;
        Ok(())
    }
}
