//! README: add it to a hyper server.

use std::{borrow::Cow, convert::Infallible, fmt::Display, io, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tower::{ServiceBuilder, service_fn};
use tower_keep::{Classify, LogLayer, Outcome, TimeoutLayer};

fn answer(status: StatusCode, text: impl Display) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_string()));
    *response.status_mut() = status;
    response
}

/// What failed, for the log.
#[derive(Clone, Copy)]
struct ServerErrors;

impl Classify<Response<Full<Bytes>>, Infallible> for ServerErrors {
    fn classify(&self, result: &Result<Response<Full<Bytes>>, Infallible>) -> Outcome {
        match result {
            Ok(response) if response.status().is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        }
    }

    fn describe(
        &self,
        result: &Result<Response<Full<Bytes>>, Infallible>,
    ) -> Option<Cow<'static, str>> {
        let response = result.as_ref().ok()?;
        Some(format!("answered {}", response.status()).into())
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(answer(StatusCode::OK, request.uri().path()))
}

pub(crate) async fn serve(listener: tokio::net::TcpListener) -> io::Result<()> {
    let service = ServiceBuilder::new()
        .layer(LogLayer::new().classify(ServerErrors))
        .layer(
            TimeoutLayer::new(Duration::from_secs(30))
                .respond_with(|why| answer(StatusCode::GATEWAY_TIMEOUT, why)),
        )
        .service(service_fn(handle));
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
        });
    }
}
