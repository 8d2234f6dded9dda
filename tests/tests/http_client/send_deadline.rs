//! The remaining time of a call as a header.

use std::{future::ready, time::Duration};

use http::{HeaderName, HeaderValue, Request, header::CONTENT_TYPE};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Job, LogLayer, Pipeline, RetryLayer,
    SendDeadlineLayer, TimeoutLayer, http::HttpRequest,
};
use tower_keep_test::{ms, secs};
use tower_keep_tests::{
    quiet,
    servers::{Server, bounded, reqwest_client},
};

const EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const GRPC: HeaderName = HeaderName::from_static("grpc-timeout");

/// What arrived: the header of Envoy and the header of gRPC.
type Sent = (Option<String>, Option<String>);

fn sent<R: HttpRequest>(request: &R) -> Sent {
    let value = |name| {
        let value: Option<&HeaderValue> = request.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    (value(EXPECTED), value(GRPC))
}

fn answers() -> impl Service<Request<()>, Response = Sent, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(|request: Request<()>| ready(Ok(sent(&request))))
}

fn grpc() -> Request<()> {
    let mut request = Request::new(());
    let value = HeaderValue::from_static("application/grpc+proto");
    request.headers_mut().insert(CONTENT_TYPE, value);
    request
}

fn with(mut request: Request<()>, name: HeaderName, value: &str) -> Request<()> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

fn expected(value: &str) -> Sent {
    (Some(value.into()), None)
}

fn timeout(value: &str) -> Sent {
    (None, Some(value.into()))
}

/// What arrives under this limit.
async fn under(limit: Duration, request: Request<()>) -> Sent {
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(limit))
        .layer(SendDeadlineLayer::new())
        .service(answers());
    client.oneshot(request).await.unwrap()
}

/// R89 Milliseconds for HTTP, the finest unit for gRPC; rounded down, at least 1.
#[tokio::test(start_paused = true)]
async fn the_remaining_time_is_sent() {
    assert_eq!(under(secs(10), Request::new(())).await, expected("10000"));
    assert_eq!(
        under(Duration::from_micros(1999), Request::new(())).await,
        expected("1")
    );
    assert_eq!(under(Duration::ZERO, Request::new(())).await, expected("1"));
    assert_eq!(under(secs(10), grpc()).await, timeout("10000000u"));
    assert_eq!(under(ms(5), grpc()).await, timeout("5000000n"));
    assert_eq!(under(secs(1000), grpc()).await, timeout("1000000m"));
    assert_eq!(under(Duration::ZERO, grpc()).await, timeout("1n"));
}

/// R89 Without a limit nothing is sent, and a header stays. Idle limits and limits of steps do not
/// count.
#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_is_sent() {
    let layer = SendDeadlineLayer::new();
    for request in [Request::new(()), grpc()] {
        let alone = layer
            .layer(answers())
            .oneshot(request.clone())
            .await
            .unwrap();
        assert_eq!(alone, (None, None));
        let client = ServiceBuilder::new()
            .layer(LogLayer::new())
            .layer(TimeoutLayer::new(secs(1)).idle())
            .layer(TimeoutLayer::none().step_limit(secs(1)))
            .layer(RetryLayer::new())
            .layer(layer.clone())
            .service(answers());
        assert_eq!(client.oneshot(request).await.unwrap(), (None, None));
    }
    let carried = with(Request::new(()), EXPECTED, "50");
    assert_eq!(
        layer.layer(answers()).oneshot(carried).await.unwrap(),
        expected("50")
    );
}

/// R89 The nearest limit is sent: of the attempt, of the call, or of the job whose code calls.
#[tokio::test(start_paused = true)]
async fn the_nearest_limit_is_sent() {
    let client = |overall, attempt| {
        ServiceBuilder::new()
            .layer(quiet())
            .layer(TimeoutLayer::new(overall))
            .layer(CircuitBreakerLayer::new())
            .layer(RetryLayer::new())
            .layer(TimeoutLayer::new(attempt).per_attempt())
            .layer(SendDeadlineLayer::new())
            .service(answers())
    };
    let near = client(secs(60), secs(10)).oneshot(Request::new(())).await;
    assert_eq!(near.unwrap(), expected("10000"));
    let far = client(secs(5), secs(10)).oneshot(Request::new(())).await;
    assert_eq!(far.unwrap(), expected("5000"));

    // A handler with 2 s that has spent one half of a second.
    let inner = client(secs(60), secs(10));
    let handler = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(secs(2)))
        .service(service_fn(move |request: Request<()>| {
            let inner = inner.clone();
            async move {
                tokio::time::sleep(ms(500)).await;
                let plain = SendDeadlineLayer::new().layer(answers());
                let bare = plain.oneshot(request.clone()).await?;
                Ok::<_, BoxError>((bare, inner.oneshot(request).await?))
            }
        }));
    let sent = handler.oneshot(Request::new(())).await.unwrap();
    assert_eq!(sent, (expected("1500"), expected("1500")));
}

/// R89 In a Pipeline, and detached from the caller: the job's own limit remains.
#[tokio::test(start_paused = true)]
async fn in_a_pipeline_and_detached() {
    let pipeline = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(60)))
        .build()
        .unwrap();
    let client = ServiceBuilder::new()
        .layer(pipeline)
        .layer(SendDeadlineLayer::new())
        .service(answers());
    let (http, _) = client.oneshot(Request::new(())).await.unwrap();
    assert!(http.is_some());

    let client = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(secs(9)))
        .layer(CancelLayer::new().detached())
        .layer(SendDeadlineLayer::new())
        .service(answers());
    assert_eq!(
        client.oneshot(Request::new(())).await.unwrap(),
        expected("9000")
    );
}

/// R89 Each attempt sends what then remains: a new limit per attempt, and less of the overall one.
#[tokio::test(start_paused = true)]
async fn each_attempt_sends_what_remains() {
    let seen = std::sync::Mutex::new(Vec::new());
    let server = service_fn(|request: Request<()>| {
        seen.lock().unwrap().push(sent(&request));
        async {
            tokio::time::sleep(ms(300)).await;
            Err::<(), BoxError>("broken".into())
        }
    });
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(6)))
        .layer(RetryLayer::new().max_retries(2))
        .layer(TimeoutLayer::new(secs(4)).per_attempt())
        .layer(SendDeadlineLayer::new())
        .service(server);
    client.oneshot(Request::new(())).await.unwrap_err();
    // The waits are 1 s and 2 s.
    let times = ["4000", "4000", "2400"].map(expected);
    assert_eq!(*seen.lock().unwrap(), times);
}

/// R89 A shorter header stays, a longer one is lowered, and an invalid one is replaced.
#[tokio::test(start_paused = true)]
async fn a_header_is_never_raised() {
    for (carried, sent) in [
        ("50", "50"),
        ("10000", "10000"),
        ("10001", "10000"),
        ("0", "10000"),
        ("soon", "10000"),
        ("-1", "10000"),
        ("99999999999999999999999", "10000"),
    ] {
        let request = with(Request::new(()), EXPECTED, carried);
        assert_eq!(under(secs(10), request).await, expected(sent), "{carried}");
    }
    for (carried, sent) in [
        ("50m", "50m"),
        ("10S", "10S"),
        ("11S", "10000000u"),
        ("1H", "10000000u"),
        ("0n", "0n"),
        ("5", "10000000u"),
        ("123456789n", "10000000u"),
    ] {
        let request = with(grpc(), GRPC, carried);
        assert_eq!(under(secs(10), request).await, timeout(sent), "{carried}");
    }
    // gRPC's header means nothing in other requests, and stays as it is.
    let request = with(Request::new(()), GRPC, "1H");
    let sent = under(secs(10), request).await;
    assert_eq!(sent, (Some("10000".into()), Some("1H".into())));
}

/// R89 Another name for the header; gRPC's stays.
#[tokio::test(start_paused = true)]
async fn the_header_can_be_renamed() {
    let name = HeaderName::from_static("x-deadline-ms");
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(3)))
        .layer(SendDeadlineLayer::new().header(name.clone()))
        .service(service_fn(move |request: Request<()>| {
            let value = request.headers().get(&name).cloned();
            ready(Ok::<_, BoxError>((value, sent(&request))))
        }));
    let (value, sent) = client.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(
        (value.unwrap(), sent),
        ("3000".parse().unwrap(), (None, None))
    );
    let (value, sent) = client.oneshot(grpc()).await.unwrap();
    assert_eq!((value, sent), (None, timeout("3000000u")));
}

/// R89 A server of axum receives it from reqwest; its handler passes on the rest.
#[tokio::test]
async fn over_a_socket() {
    bounded(async {
        let app = axum::Router::new().fallback(|request: axum::extract::Request| async move {
            assert!(Job::current().deadline().is_none());
            sent(&request).0.unwrap()
        });
        let server = Server::axum(app).await;
        let client = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(30)))
            .layer(SendDeadlineLayer::new())
            .service(reqwest_client());
        let url = server.url("/").parse().unwrap();
        let request = reqwest::Request::new(http::Method::GET, url);
        let response = client.oneshot(request).await.unwrap();
        let left: u64 = response.text().await.unwrap().parse().unwrap();
        assert!((1..=30_000).contains(&left), "{left}");
    })
    .await;
}
