//! A JSON client with typed errors, around any API. Equal GETs at the same time are sent once.

use reqwest::{Client, Request, RequestBuilder, Response, StatusCode, redirect, retry};
use serde::de::DeserializeOwned;
use tower::{Layer, util::BoxCloneSyncService};
use tower_keep::{BoxError, DedupLayer, Pipeline, Rejection, SendThrough};

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the API answered {0}")]
    Status(StatusCode),
    #[error("the API is down")]
    Down(#[source] BoxError),
    #[error("the API took too long")]
    TimedOut(#[source] BoxError),
    #[error("the call failed")]
    Failed(#[source] BoxError),
}

impl From<BoxError> for ApiError {
    fn from(error: BoxError) -> Self {
        match Rejection::of(&*error) {
            Some(Rejection::TimedOut) => Self::TimedOut(error),
            Some(Rejection::CircuitOpen) => Self::Down(error),
            _ => Self::Failed(error),
        }
    }
}

#[derive(Clone)]
pub struct Api {
    pub client: Client,
    stack: BoxCloneSyncService<Request, Response, BoxError>,
}

impl Api {
    pub fn new() -> Result<Self, BoxError> {
        let client = Client::builder().retry(retry::never());
        let client = client.redirect(redirect::Policy::none()).build()?;
        let stack = Pipeline::http_client().dedup(DedupLayer::http_get());
        let stack = BoxCloneSyncService::new(stack.build()?.layer(client.clone()));
        Ok(Self { client, stack })
    }

    pub async fn json<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, ApiError> {
        let response = call.send_through(&self.stack).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(ApiError::Status(status));
        }
        Ok(response.json().await.map_err(BoxError::from)?)
    }
}
