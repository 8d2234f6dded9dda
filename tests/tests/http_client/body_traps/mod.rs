//! Where responses trap the clients that follow them: each test has the whole pipeline around
//! hyper-util's client or reqwest, and a server that misbehaves.

mod connections;
mod cut;
mod early;
mod faults;
mod relay;
mod trailers;
mod upgrade;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{Layer, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, EventKind, LogLayer, Pipeline, RetryLayer, SendThrough,
    TimeoutLayer,
    circuit_breaker::CircuitsHandle,
    http::{Authority, HttpClientPipeline, body::BodyEnd},
    pipeline::PipelineLayer,
};
use tower_keep_test::{Recorder, secs};

use super::{
    follow::ended,
    origin::clients::{self, HyperClient},
};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The pipeline for clients, and what it shows.
struct Stack {
    layer: PipelineLayer<HttpClientPipeline>,
    recorder: Recorder,
    circuits: CircuitsHandle<Authority>,
}

impl Stack {
    /// Without retries. An idle limit of 15 s.
    fn new() -> Self {
        Self::with(0, secs(15))
    }

    /// With retries almost at once.
    fn retrying() -> Self {
        Self::with(5, secs(15))
    }

    /// Without retries. With this idle limit.
    fn idle(limit: Duration) -> Self {
        Self::with(0, limit)
    }

    fn with(retries: u32, idle: Duration) -> Self {
        let recorder = Recorder::new();
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let layer = Pipeline::http_client()
            .log(LogLayer::http_to(recorder.clone()))
            .circuit_breaker(breaker)
            .retry(
                RetryLayer::http()
                    .max_retries(retries)
                    .base_delay(Duration::from_millis(1)),
            )
            .attempt_timeout(TimeoutLayer::http_attempt(secs(10)).idle(idle))
            .build()
            .unwrap();
        Self {
            layer,
            recorder,
            circuits,
        }
    }

    /// Whether the job runs.
    fn runs(&self) -> bool {
        ended(&self.recorder).is_none()
    }

    /// The failures in a row of the only circuit.
    fn failures(&self) -> u32 {
        let circuits = self.circuits.circuits();
        assert_eq!(circuits.len(), 1);
        circuits[0].1.snapshot().failures_in_a_row
    }

    /// Asserts that the only job, its body and the circuit agree on this end.
    #[track_caller]
    fn assert_ended(&self, body: Option<BodyEnd>, what: &str) {
        let (how, ended) = ended(&self.recorder).unwrap_or_else(|| panic!("{what}: it runs"));
        assert_eq!(ended, body, "{what}");
        let is_good = matches!(body, Some(BodyEnd::Complete | BodyEnd::Dropped));
        assert_eq!(how == EventKind::Succeeded, is_good, "{what}: {how:?}");
        assert_eq!(self.failures(), u32::from(!is_good), "{what}");
    }
}

/// A client of one version of HTTP.
#[derive(Clone)]
enum Client {
    Hyper(Box<HyperClient>),
    Reqwest(reqwest::Client),
}

impl Client {
    /// Both clients.
    fn both(version: Version) -> [Self; 2] {
        [
            Self::Hyper(Box::new(clients::hyper(version))),
            Self::Reqwest(clients::reqwest(version)),
        ]
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Hyper(_) => "hyper-util",
            Self::Reqwest(_) => "reqwest",
        }
    }

    /// Gets this URL through the stack.
    async fn get(&self, stack: &Stack, url: &str) -> Result<Response<Body>, BoxError> {
        match self {
            Self::Hyper(client) => {
                let request = Request::get(url).body(Full::default())?;
                let response = stack
                    .layer
                    .layer((**client).clone())
                    .oneshot(request)
                    .await?;
                Ok(response.map(BodyExt::boxed_unsync))
            }
            Self::Reqwest(client) => {
                let api = stack.layer.layer(client.clone());
                let response = client.get(url).send_through(&api).await?;
                Ok(of_reqwest(response))
            }
        }
    }
}

fn of_reqwest(response: reqwest::Response) -> Response<Body> {
    Response::<reqwest::Body>::from(response).map(|body| body.map_err(Into::into).boxed_unsync())
}

/// What a reader got of a body.
#[derive(Debug, Default)]
struct Read {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    error: Option<Arc<BoxError>>,
}

/// Reads a body to its end.
async fn read(mut body: Body) -> Read {
    let mut read = Read::default();
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => read.bytes.extend_from_slice(&data),
            Ok(Err(frame)) => read.trailers = frame.into_trailers().ok(),
            Err(error) => {
                read.error = Some(Arc::new(error));
                break;
            }
        }
    }
    read
}
