//! The status in the trailers, in each stack and from a server.

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, EventKind, JobLayer, LogLayer, Pipeline,
    ProgressLayer, RetryLayer, SendThrough, TimeoutLayer, http::body::BodyEnd::Complete,
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
    secs,
};

use super::{
    super::{
        follow::{end, ended, get},
        follow_circuit::in_a_row,
        origin::clients,
    },
    GRPC, MESSAGE, answers, failed, read, response,
};

/// R84 The outermost layer that follows the body fails the job, whichever layer it is. A layer that
/// does not follow the body ends the job at the head, and the circuit counts all the same.
#[tokio::test(start_paused = true)]
async fn each_layer_that_ends_the_job() {
    async fn ends_with<L>(what: &str, layer: L, follows: bool)
    where
        L: Layer<tower::util::BoxCloneService<Request<String>, Response<Boxed>, BoxError>>,
        L::Service: Service<Request<String>, Response: Into<Response<Boxed>>, Error = BoxError>,
    {
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let recorder = Recorder::new();
        let inner = ServiceBuilder::new()
            .boxed_clone()
            .map_response(|response: Response<_>| response.map(boxed))
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(CancelLayer::http())
            .layer(TimeoutLayer::http(secs(60)))
            .layer(breaker)
            .layer(TimeoutLayer::http_attempt(secs(10)))
            .service(answers([response("14")]));
        let answer = layer.layer(inner).oneshot(get()).await.unwrap().into();
        let before = recorder.terminal(recorder.job());
        assert_eq!(before.is_some(), !follows, "{what}");
        read(answer).await;
        let ended = recorder.terminal(recorder.job()).unwrap();
        assert_eq!(
            matches!(ended, EventKind::Failed { .. }),
            follows,
            "{what}: {ended:?}"
        );
        assert_eq!(in_a_row(&circuits), 1, "{what}");
    }
    type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
    fn boxed<B>(body: B) -> Boxed
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        body.map_err(Into::into).boxed_unsync()
    }
    /// Boxes the body of a layer that follows it.
    macro_rules! boxing {
        ($layer:expr) => {
            ServiceBuilder::new()
                .map_response(|response: Response<_>| response.map(boxed))
                .layer($layer)
        };
    }
    ends_with("job", boxing!(JobLayer::new("call").http()), true).await;
    ends_with("log", boxing!(LogLayer::http()), true).await;
    ends_with("progress", boxing!(ProgressLayer::http()), true).await;
    ends_with("cancel", boxing!(CancelLayer::http()), true).await;
    ends_with("timeout", boxing!(TimeoutLayer::http(secs(60))), true).await;
    ends_with("log", boxing!(LogLayer::new()), false).await;
    ends_with("job", boxing!(JobLayer::new("call")), false).await;
}

/// R84 In a pipeline nothing is retried for the trailers, and the job has one end.
#[tokio::test(start_paused = true)]
async fn a_pipeline_retries_nothing() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let client = Pipeline::http_client()
        .log(LogLayer::http_to(recorder.clone()))
        .circuit_breaker(breaker)
        .build()
        .unwrap()
        .layer(answers([response("14"), response("0")]));
    read(client.clone().oneshot(get()).await.unwrap()).await;
    let events = ["dispatched", "started", "attempt_ended", "failed"];
    let mut names = recorder.names();
    names.retain(|name| *name != "progress");
    assert_eq!(names, events);
    assert_eq!(in_a_row(&circuits), 1);
    read(client.oneshot(get()).await.unwrap()).await;
    assert_eq!(in_a_row(&circuits), 0);
    recorder.assert_one_terminal_each();
}

/// R84 A circuit inside the retry counts the trailers once, too.
#[tokio::test(start_paused = true)]
async fn inside_a_retry() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let client = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(RetryLayer::http())
        .layer(breaker)
        .service(answers([failed(), response("15")]));
    read(client.oneshot(get()).await.unwrap()).await;
    assert_eq!(in_a_row(&circuits), 2);
    assert!(end(&recorder).unwrap().0.contains("15 (data loss)"));
}

/// R84 The same from a server, with each client and version.
#[tokio::test]
async fn from_an_origin() -> Result<(), BoxError> {
    let reply = |status: &str| {
        let reply = Reply::status(200).header("content-type", GRPC);
        reply.body(MESSAGE).trailer("grpc-status", status)
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for client in ["hyper", "reqwest"] {
            for (status, failures) in [("14", 1), ("0", 0)] {
                let row = format!("{client} {version:?} {status}");
                let origin = Origin::start().await?.then(reply(status));
                let recorder = Recorder::new();
                let breaker = CircuitBreakerLayer::http();
                let circuits = breaker.handle();
                let api = Pipeline::http_client()
                    .log(LogLayer::http_to(recorder.clone()))
                    .circuit_breaker(breaker)
                    .build()?;
                if client == "hyper" {
                    let request = Request::get(origin.url("/")).body(Full::default())?;
                    let api = api.layer(clients::hyper(version));
                    let trailers = read(api.oneshot(request).await?).await;
                    assert_eq!(trailers["grpc-status"], status, "{row}");
                } else {
                    let client = clients::reqwest(version);
                    let api = api.layer(client.clone());
                    let response = client.get(origin.url("/")).send_through(&api).await?;
                    assert_eq!(response.bytes().await?, MESSAGE, "{row}");
                }
                let (how, body) = ended(&recorder).unwrap();
                assert_eq!(body, Some(Complete), "{row}");
                assert_eq!(
                    matches!(how, EventKind::Failed { .. }),
                    failures == 1,
                    "{row}: {how:?}"
                );
                let [(_, circuit)] = &circuits.circuits()[..] else {
                    panic!("one circuit")
                };
                assert_eq!(circuit.snapshot().failures_in_a_row, failures, "{row}");
            }
        }
    }
    Ok(())
}
