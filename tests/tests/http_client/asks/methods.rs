//! Which requests are repeated, and who decides: asks 1 to 3.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, Pipeline, Rejection, RepeatRequest, RetryLayer,
    retry::{Decision, Jitter},
};
use tower_keep_test::http::{Origin, Reply};
use tower_keep_tests::*;

use super::{Client, VERSIONS, arrivals, get, in_memory, post, request};

/// R80 Ask 1: a POST that timed out may have been processed, so it is not repeated. The request
/// decides that, although a timeout has no response in which to look.
#[tokio::test(start_paused = true)]
async fn a_post_that_timed_out_is_not_repeated() {
    for version in VERSIONS {
        let origin = Origin::in_memory().then(Reply::hang()).repeat_last();
        let (lines, _guard) = Lines::listen();
        let api = Pipeline::http_client().build().unwrap();
        let api = api.layer(in_memory(&origin, version));
        let error = api.clone().oneshot(post(&origin)).await.unwrap_err();
        assert_eq!(error.to_string(), "attempt time limit of 10s expired");
        assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
        assert_eq!(arrivals(&origin, version), [secs(0)]);
        assert_eq!(
            lines.records().last().unwrap(),
            "ERROR failed",
            "{:?}",
            lines.records()
        );
        assert!(!format!("{:?}", lines.fields()).contains("hunter2"));

        // A GET may be repeated.
        api.oneshot(get(&origin)).await.unwrap_err();
        assert_eq!(origin.received().len(), 1 + 4);
    }
}

/// R80 Ask 1: no POST is repeated after any failure that the server may have seen.
#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once_whatever_fails() {
    for version in VERSIONS {
        for failure in [
            Reply::status(500),
            Reply::status(503),
            Reply::close(),
            Reply::reset(),
            Reply::garbage(),
        ] {
            let origin = Origin::in_memory().then(failure).repeat_last();
            let api = RetryLayer::http().layer(in_memory(&origin, version));
            let result = api.oneshot(post(&origin)).await;
            assert!(result.is_err() || result.unwrap().status().is_server_error());
            assert_eq!(arrivals(&origin, version), [secs(0)]);
        }
    }
}

/// R80 R81 Ask 2: only idempotent methods are repeated. A user opts in for others, for single
/// requests, and for more statuses.
#[tokio::test(start_paused = true)]
async fn methods_and_statuses_are_chosen() {
    const ALL: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
        Method::POST,
        Method::PATCH,
    ];
    for version in VERSIONS {
        let origin = Origin::in_memory().then(Reply::status(503)).repeat_last();
        for method in ALL {
            let idempotent = ![Method::POST, Method::PATCH].contains(&method);
            let retry = RetryLayer::http();
            let plain = request(method.clone(), &origin, "/");
            let expected = if idempotent { 4 } else { 1 };
            assert_eq!(
                sent(&origin, version, &retry, plain.clone()).await,
                expected
            );
            let every = retry.clone().retry_every_method();
            assert_eq!(sent(&origin, version, &every, plain.clone()).await, 4);
            let mut forbidden = plain.clone();
            forbidden.extensions_mut().insert(RepeatRequest::Forbidden);
            assert_eq!(sent(&origin, version, &retry, forbidden).await, 1);
            let mut allowed = plain;
            allowed.extensions_mut().insert(RepeatRequest::Allowed);
            assert_eq!(sent(&origin, version, &retry, allowed).await, 4);
        }
        let origin = Origin::in_memory().then(Reply::status(500)).repeat_last();
        let retry = RetryLayer::http();
        assert_eq!(sent(&origin, version, &retry, get(&origin)).await, 1);
        let retry = retry.retry_status(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(sent(&origin, version, &retry, get(&origin)).await, 4);
        assert_eq!(sent(&origin, version, &retry, post(&origin)).await, 1);
        let origin = Origin::in_memory().then(Reply::status(502)).repeat_last();
        let retry = RetryLayer::http().repeat_by(|request: &Request<Full<Bytes>>| {
            (request.uri().path() == "/search").then_some(RepeatRequest::Allowed)
        });
        for (path, expected) in [("/search", 4), ("/orders", 1)] {
            let posted = request(Method::POST, &origin, path);
            assert_eq!(sent(&origin, version, &retry, posted).await, expected);
        }
    }
}

/// How often this request arrives, behind this layer.
async fn sent<L>(
    origin: &Origin,
    version: Version,
    retry: &L,
    request: Request<Full<Bytes>>,
) -> usize
where
    L: Layer<Client<Full<Bytes>>>,
    L::Service: Service<Request<Full<Bytes>>>,
{
    let before = origin.received().len();
    let api = retry.layer(in_memory(origin, version));
    assert!(api.oneshot(request).await.is_ok());
    arrivals(origin, version).len() - before
}

type Outcome = Result<Response<Incoming>, legacy::Error>;

/// R80 Ask 3: the closure that decides sees the request, the outcome and the attempt. It keeps the
/// budget and the bodies of the layer for HTTP.
#[tokio::test(start_paused = true)]
async fn the_decision_sees_the_request() {
    for version in VERSIONS {
        let origin = Origin::in_memory().then(Reply::status(404)).repeat_last();
        // A new object is not visible at once.
        let retry = RetryLayer::http().jitter(Jitter::None).decide_with_request(
            |request: &Request<Full<Bytes>>| request.uri().path().starts_with("/new/"),
            |is_new: &bool, outcome: &Outcome, attempt| match outcome {
                Ok(response) if response.status() == StatusCode::NOT_FOUND && *is_new => {
                    Decision::RetryIn(secs(attempt.number().into()))
                }
                _ => Decision::Stop,
            },
        );
        let api = retry.layer(in_memory(&origin, version));
        let old = request(Method::GET, &origin, "/old/1");
        api.clone().oneshot(old).await.unwrap();
        assert_eq!(arrivals(&origin, version), [secs(0)]);
        let new = request(Method::GET, &origin, "/new/1");
        let response = api.oneshot(new).await.unwrap();
        assert_eq!(response.status(), 404);
        let all = arrivals(&origin, version);
        assert_eq!(all[1..], [secs(0), secs(1), secs(3), secs(6)]);
    }
}

/// R80 R81 Ask 3: a closure overrules the layer for HTTP in one case, and leaves it all others.
#[tokio::test(start_paused = true)]
async fn one_case_is_decided_first() {
    for version in VERSIONS {
        let (lines, _guard) = Lines::listen();
        let origin = Origin::in_memory()
            .then(Reply::status(409))
            .then(Reply::status(503).header("retry-after", "7"))
            .then(Reply::status(404));
        let retry =
            RetryLayer::http().decide_first(|outcome: &Result<Response<_>, BoxError>, _| {
                let conflict = outcome.as_ref().is_ok_and(|found| found.status() == 409);
                conflict.then_some(Decision::RetryIn(secs(2)))
            });
        let api = Pipeline::http_client()
            .retry(retry.jitter(Jitter::None))
            .build()
            .unwrap()
            .layer(in_memory(&origin, version).map_err(BoxError::from));
        assert_eq!(api.oneshot(get(&origin)).await.unwrap().status(), 404);
        assert_eq!(arrivals(&origin, version), [secs(0), secs(2), secs(9)]);
        let fields = lines.fields();
        assert!(
            fields
                .iter()
                .any(|line| line.contains("the server answered 409")),
            "{fields:#?}"
        );
        origin.assert_finished();
    }
}
