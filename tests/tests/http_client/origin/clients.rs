//! Clients without hidden retries, and a short description of what they saw.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;
use tower_keep_test::http::Origin;

pub(crate) type HyperClient = Client<HttpConnector, Full<Bytes>>;

/// reqwest's client.
pub(crate) fn reqwest(version: Version) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .no_proxy();
    match version {
        Version::HTTP_2 => builder.http2_prior_knowledge(),
        _ => builder,
    }
    .build()
    .unwrap()
}

/// hyper-util's client.
pub(crate) fn hyper(version: Version) -> HyperClient {
    let mut connector = HttpConnector::new();
    // As reqwest does: else a small second write waits for the acknowledgement of the first.
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .http2_only(version == Version::HTTP_2)
        .build(connector)
}

/// What reqwest sees of the answer to a POST.
pub(super) async fn reqwest_sees(
    client: &reqwest::Client,
    origin: &Origin,
    patience: Duration,
) -> String {
    let request = client
        .post(origin.url("/"))
        .body("request")
        .timeout(patience);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return describe(&error),
    };
    let status = response.status().as_u16();
    match response.bytes().await {
        Ok(body) => format!("{status} {body:?}"),
        Err(error) => format!("{status}, then {}", describe(&error)),
    }
}

/// What hyper-util's client sees of the answer to a POST.
pub(super) async fn hyper_sees(
    client: &HyperClient,
    origin: &Origin,
    patience: Duration,
) -> String {
    let request = Request::post(origin.url("/"))
        .body(Full::from("request"))
        .unwrap();
    let response = match timeout(patience, client.request(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return describe(&error),
        Err(_) => return "hangs".to_owned(),
    };
    let status = response.status().as_u16();
    match timeout(patience, response.into_body().collect()).await {
        Ok(Ok(body)) => format!("{status} {:?}", body.to_bytes()),
        Ok(Err(error)) => format!("{status}, then {}", describe(&error)),
        Err(_) => format!("{status}, then hangs"),
    }
}

/// The classes of an error, and its cause.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut classes = Vec::new();
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        for (holds, class) in [
            (error.is_connect(), "connect"),
            (error.is_request(), "request"),
            (error.is_decode(), "decode"),
            (error.is_body(), "body"),
            (error.is_timeout(), "timeout"),
        ] {
            if holds {
                classes.push(class);
            }
        }
    }
    if let Some(error) = error.downcast_ref::<legacy::Error>() {
        if error.is_connect() {
            classes.push("connect");
        }
    }
    // The last cause that says something is the first that happened.
    let mut found = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        found = cause(error).unwrap_or(found);
        next = error.source();
    }
    [classes.join("+"), found]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ")
}

fn cause(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return [
            (error.is_canceled(), "canceled"),
            (error.is_incomplete_message(), "incomplete message"),
            (error.is_parse(), "parse"),
        ]
        .into_iter()
        .find_map(|(holds, cause)| holds.then(|| cause.to_owned()));
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        if let Some(error) = error.get_io() {
            return Some(format!("{:?}", error.kind()));
        }
        let by = if error.is_remote() { "" } else { "own " };
        let frame = if error.is_go_away() {
            "GOAWAY"
        } else {
            "RST_STREAM"
        };
        return Some(format!("{by}{frame} {:?}", error.reason()?));
    }
    let error = error.downcast_ref::<io::Error>()?;
    Some(format!("{:?}", error.kind()))
}
