//! A tonic client behind the whole stack, for a service that only reads. Run it in `examples/integrations`:
//! `cargo run -p recipe-tonic`

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Server},
};
use tonic_health::{
    pb::{
        HealthCheckRequest, health_client::HealthClient, health_server::HealthServer,
    },
    server::{HealthReporter, HealthService},
};
use tower::ServiceBuilder;
use tower_keep::{
    BoxError, Pipeline, ReplayLayer, RetryLayer, SendDeadlineLayer, TimeoutLayer,
    http::replay::ReplayBody,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The server records the deadline of each attempt. Twice it is unavailable.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let service = HealthService::from_health_reporter(HealthReporter::new());
    let service = HealthServer::with_interceptor(service, move |request: tonic::Request<()>| {
        let deadline = request.metadata().get("grpc-timeout").cloned();
        let mut seen = record.lock().unwrap();
        seen.push(deadline);
        match seen.len() {
            1 | 2 => Err(Status::unavailable("starting")),
            _ => Ok(request),
        }
    });
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let channel = Channel::from_shared(url.clone())?.connect_lazy();
    let stack = ServiceBuilder::new()
        .layer(ReplayLayer::new()) // tonic's body is not `Clone`: this keeps up to 64 KiB for a retry
        .layer(
            Pipeline::http_client()
                .timeout(TimeoutLayer::http(Duration::from_secs(20)))
                // Every call of gRPC is a POST. All calls of this service may be repeated.
                .retry(RetryLayer::http().retry_every_method())
                .attempt_timeout(TimeoutLayer::http_attempt(Duration::from_secs(2)))
                .build()?,
        )
        .layer(SendDeadlineLayer::new())
        .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    // With the origin, the circuits, budgets and logs know the server.
    let mut client = HealthClient::with_origin(stack, url.parse()?);

    let answer = client.check(HealthCheckRequest::default()).await?.into_inner();
    println!("status of the service: {:?}", answer.status());
    let deadlines = seen.lock().unwrap().clone();
    println!("deadlines that the server saw: {deadlines:?}");
    assert_eq!(deadlines.len(), 3);
    for deadline in deadlines {
        let deadline = deadline.ok_or("an attempt without a deadline")?;
        let millis = deadline.to_str()?;
        println!("{millis}");
    }
    Ok(())
}
