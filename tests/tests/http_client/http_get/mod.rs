//! Equal GETs share one exchange where RFC 9111 allows it.

mod changes;
mod compositions;
mod from_origin;
mod jobs;
mod leaving;
mod model;
mod odd_messages;
mod sharing;
mod soak;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use http::{Request, Response, response::Builder};
use http_body_util::BodyExt;
use hyper::body::Body;
use tower::{Service, service_fn};
use tower_keep::BoxError;
use tower_keep_test::secs;
use tower_keep_tests::begin;

pub(super) use super::follow::{Step, Steps};

/// A GET without a body.
pub(super) fn get(path: &str) -> Request<String> {
    with("GET", path, &[])
}

/// A request without a body, with these headers.
pub(super) fn with(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<String> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://example.com{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(String::new()).unwrap()
}

/// An answer with these headers.
pub(super) fn answer(status: u16, headers: &[(&str, &str)]) -> Builder {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer
}

/// The client of a server that takes a second for each answer. It counts its exchanges.
#[derive(Clone, Default)]
pub(super) struct Site {
    exchanges: Arc<AtomicUsize>,
}

impl Site {
    pub(super) fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }

    /// `answer` gets the number of the exchange, from zero.
    pub(super) fn client<F, B>(
        &self,
        answer: F,
    ) -> impl Service<
        Request<String>,
        Response = Response<B>,
        Error = BoxError,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
    where
        F: Fn(usize, &Request<String>) -> Response<B> + Clone + Send + Sync + 'static,
        B: Send + 'static,
    {
        let exchanges = Arc::clone(&self.exchanges);
        service_fn(move |request: Request<String>| {
            let number = exchanges.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            async move {
                tokio::time::sleep(secs(1)).await;
                Ok::<_, BoxError>(answer(number, &request))
            }
        })
    }

    /// A client whose answers have this head and the number of the exchange as their body.
    pub(super) fn numbered(
        &self,
        status: u16,
        headers: &'static [(&'static str, &'static str)],
    ) -> impl Service<
        Request<String>,
        Response = Response<String>,
        Error = BoxError,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static {
        self.client(move |number, _| answer(status, headers).body(number.to_string()).unwrap())
    }
}

/// The text of a body.
pub(super) async fn text<B>(response: Response<B>) -> String
where
    B: Body<Data: Send, Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Begins all calls, then waits for all. Returns the bodies.
pub(super) async fn texts<S, B>(
    service: &mut S,
    requests: impl IntoIterator<Item = Request<String>>,
) -> Vec<String>
where
    S: Service<Request<String>, Response = Response<B>, Error = BoxError>,
    B: Body<Data: Send, Error: std::fmt::Debug>,
{
    let mut calls = Vec::new();
    for request in requests {
        calls.push(begin(service, request).await);
    }
    let answers = join_all(calls).await;
    join_all(answers.into_iter().map(|answer| text(answer.unwrap()))).await
}

/// Whether all are different.
pub(super) fn are_distinct(texts: &[String]) -> bool {
    texts.iter().collect::<BTreeSet<_>>().len() == texts.len()
}
