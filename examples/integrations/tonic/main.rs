//! tonic's client behind the whole stack, for a service that only reads: `cargo run -p recipe-tonic`

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Server},
};
use tonic_health::{
    pb::{HealthCheckRequest, health_client::HealthClient, health_server::HealthServer},
    server::{HealthReporter, HealthService},
};
use tower::ServiceBuilder;
use tower_keep::{
    BoxError, Pipeline, Rejection, ReplayLayer, RetryLayer, SendDeadlineLayer, TimeoutLayer,
    http::replay::ReplayBody,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // This server answers its third request only. It notes the deadline of each, in microseconds.
    let deadlines = Arc::new(Mutex::new(Vec::<Option<u64>>::new()));
    let notes = deadlines.clone();
    let health = HealthService::from_health_reporter(HealthReporter::new());
    let health = HealthServer::with_interceptor(health, move |call: tonic::Request<()>| {
        let deadline = call.metadata().get("grpc-timeout");
        let micros = deadline.and_then(|text| text.to_str().ok()?.strip_suffix('u')?.parse().ok());
        let mut notes = notes.lock().unwrap();
        notes.push(micros);
        match notes.len() {
            3 => Ok(call),
            _ => Err(Status::unavailable("overloaded")),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    // Each call of gRPC is a POST. Those of this service may be repeated.
    let stack = Pipeline::http_client()
        .timeout(TimeoutLayer::http(Duration::from_secs(20)))
        .retry(RetryLayer::http().retry_every_method())
        .attempt_timeout(TimeoutLayer::http_attempt(Duration::from_secs(2)))
        .build()?;
    let stack = ServiceBuilder::new()
        .layer(ReplayLayer::new()) // tonic's body is not `Clone`: this keeps up to 64 KiB for a retry
        .layer(stack)
        .layer(SendDeadlineLayer::new())
        .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
        .service(Channel::from_shared(url.clone())?.connect_lazy());
    // With the origin, so that the stack knows the server: its circuits and logs name it.
    let mut client = HealthClient::with_origin(stack, url.parse()?);

    let answer = client.check(HealthCheckRequest::default()).await?;
    let answer = answer.into_inner().status();
    let deadlines = deadlines.lock().unwrap().clone();
    println!("{answer:?}, deadlines of the attempts in µs: {deadlines:?}");
    assert_eq!(deadlines.len(), 3);
    for deadline in deadlines {
        assert!(deadline.is_some_and(|micros| micros <= 2_000_000));
    }

    // The sixth failed call opens the circuit of this server. tonic gives an error of a layer the
    // code `Unknown`, and `Rejection::of` says what it is.
    for call in 1..=7 {
        let answer = client.check(HealthCheckRequest::default()).await;
        let error = answer.unwrap_err();
        let rejection = Rejection::of(&error);
        println!("{:?}, rejection: {rejection:?}", error.code());
        let expected = match call {
            7 => (Code::Unknown, Some(Rejection::CircuitOpen)),
            _ => (Code::Unavailable, None),
        };
        assert_eq!((error.code(), rejection), expected);
    }
    Ok(())
}
