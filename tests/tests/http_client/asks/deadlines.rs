//! Deadlines on the wire, and the status of an expired limit: asks 27 and 28.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, JobLayer, LogLayer, RetryLayer, SendDeadlineLayer, TimeoutLayer, retry::Jitter,
    timeout::Elapsed,
};
use tower_keep_test::http::{Origin, Reply};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, get, in_memory, request};

fn grpc(origin: &Origin) -> Request<Full<Bytes>> {
    let mut request = request(Method::POST, origin, "/Search");
    let value = "application/grpc+proto".parse().unwrap();
    request.headers_mut().insert("content-type", value);
    request
}

/// R89 Ask 27: the deadline of a handler goes out with the calls that it makes, without code in the
/// handler. Each attempt sends what is left of it.
#[tokio::test(start_paused = true)]
async fn a_handlers_deadline_goes_out_with_its_calls() {
    for version in VERSIONS {
        let origin = Origin::in_memory()
            .then(Reply::status(503).after(secs(1)))
            .then(Reply::status(200))
            .then(Reply::status(503).after(secs(1)))
            .then(Reply::status(200));
        let client = ServiceBuilder::new()
            .layer(
                RetryLayer::http()
                    .retry_every_method()
                    .base_delay(secs(1))
                    .jitter(Jitter::None),
            )
            .layer(SendDeadlineLayer::new())
            .service(in_memory(&origin, version));
        let handler = service_fn(move |calls: Vec<Request<Full<Bytes>>>| {
            let client = client.clone();
            async move {
                for call in calls {
                    client.clone().oneshot(call).await?;
                }
                Ok::<_, BoxError>(())
            }
        });
        let server = ServiceBuilder::new()
            .layer(JobLayer::new("handler"))
            .layer(TimeoutLayer::new(secs(30)))
            .service(handler);
        server
            .oneshot(vec![grpc(&origin), get(&origin)])
            .await
            .unwrap();
        arrivals(&origin, version);
        let sent: Vec<_> = origin
            .received()
            .iter()
            .map(|received| {
                let grpc = received.header("grpc-timeout").map(str::to_owned);
                let millis = received
                    .header("x-envoy-expected-rq-timeout-ms")
                    .map(str::to_owned);
                (grpc, millis)
            })
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            sent,
            [
                (some("30000000u"), None),
                (some("28000000u"), None),
                (None, some("28000")),
                (None, some("26000")),
            ]
        );
        origin.assert_finished();
    }
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The response of a gRPC client whose own limit has expired: 4, and not 1, which means that the
/// caller left.
fn deadline_exceeded(_: Elapsed) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "4")
        .body(empty())
        .unwrap()
}

fn gateway_timeout(_: Elapsed) -> Response<Body> {
    let response = Response::builder().status(StatusCode::GATEWAY_TIMEOUT);
    response.body(empty()).unwrap()
}

/// R80 R81 Ask 28: an expired limit is what its protocol calls it, and the error type of the client
/// stays. Retry and log still know it as a time limit.
#[tokio::test(start_paused = true)]
async fn an_expired_limit_has_the_status_of_its_protocol() {
    for version in VERSIONS {
        for is_grpc in [true, false] {
            let (lines, _guard) = Lines::listen();
            let origin = Origin::in_memory().then(Reply::hang()).repeat_last();
            let respond = if is_grpc {
                deadline_exceeded
            } else {
                gateway_timeout
            };
            let api = ServiceBuilder::new()
                .layer(LogLayer::http())
                .layer(TimeoutLayer::new(secs(25)).respond_with(respond))
                .layer(RetryLayer::http().retry_every_method().jitter(Jitter::None))
                .layer(
                    TimeoutLayer::new(secs(10))
                        .per_attempt()
                        .respond_with(respond),
                )
                .map_response(|response: Response<hyper::body::Incoming>| {
                    response.map(BodyExt::boxed_unsync)
                })
                .service(in_memory(&origin, version));
            let call = if is_grpc { grpc(&origin) } else { get(&origin) };
            let result: Result<_, hyper_util::client::legacy::Error> = api.oneshot(call).await;
            let response = result.unwrap();
            match is_grpc {
                true => assert_eq!(response.headers()["grpc-status"], "4"),
                false => assert_eq!(response.status(), 504),
            }
            assert_eq!(arrivals(&origin, version), [ms(0), ms(10_100), ms(20_300)]);
            assert_eq!(lines.records().last().unwrap(), "ERROR failed");
            let fields = lines.fields();
            let last = fields.last().unwrap();
            assert!(last.contains("cause=\"timed out\""), "{last}");
            assert!(last.contains("the overall time limit expired"), "{last}");
        }
    }
}
