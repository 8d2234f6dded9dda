//! The client: the layers around hyper-util's client or reqwest, and the calls of the user.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Body;
use hyper_util::{
    client::legacy::{self, connect::Connect},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CircuitBreakerLayer, IdempotencyKeyLayer, JobLayer, LogLayer, Pipeline,
    ProgressLayer, Ratio, Rejection, ReplayLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::CircuitsHandle,
    http::{Authority, Hint, HttpResponse},
    pipeline::Identity,
    progress::ProgressHandle,
    retry::RetryBudget,
};

use super::{
    plan::{Call, Stack, Wrong},
    record::{Outcome, Watcher, World},
    transport::Attempts,
    upload::Upload,
};

/// A response body, of any client.
type Page = UnsyncBoxBody<Bytes, BoxError>;

/// What the user calls.
type Api = BoxCloneSyncService<Request<Bytes>, Response<Page>, BoxError>;

/// A client with its layers.
pub(super) struct Client {
    api: Api,
    pub(super) progress: ProgressHandle,
    pub(super) circuits: CircuitsHandle<Authority>,
}

macro_rules! retry {
    ($world:expr) => {{
        let settings = &$world.settings;
        let share = Ratio::percent(settings.budget_share).unwrap();
        let budget = RetryBudget::new(share).floor(settings.budget_floor);
        let retry = RetryLayer::http()
            .max_retries(settings.max_retries)
            .max_body(settings.max_body)
            .base_delay(Duration::from_millis(20))
            .budget_per_authority(budget.window(settings.budget_window).unwrap())
            .attempt_header(HeaderName::from_static("grpc-previous-rpc-attempts"))
            .seed(settings.seed);
        match settings.wrong {
            None => retry,
            Some(Wrong::EveryMethod) => retry.retry_every_method(),
            Some(Wrong::IgnoresHints) => retry.hints(|_: StatusCode, headers: &HeaderMap| {
                let asks = headers.contains_key("retry-after");
                asks.then_some(Hint::Wait(Duration::ZERO))
            }),
        }
    }};
}

/// Names the job after the call.
macro_rules! identified {
    ($Request:ty) => {
        JobLayer::new("exchange").identified_by(|request: &$Request| {
            Some(request.headers()["x-call"].to_str().unwrap().to_owned())
        })
    };
}

/// The log and the pipeline of a world, with this circuit.
macro_rules! pipeline {
    ($world:expr, $progress:expr, $circuit:expr) => {{
        let settings = &$world.settings;
        let attempt = TimeoutLayer::new(settings.attempt_limit).per_attempt();
        let pipeline = Pipeline::http_client()
            .log(LogLayer::http_to(Watcher($world.clone())))
            .progress($progress)
            .circuit_breaker($circuit)
            .timeout(TimeoutLayer::new(settings.overall_limit))
            .retry(retry!($world))
            .attempt_timeout(attempt);
        pipeline.build().unwrap()
    }};
}

/// The response with a body of one type, whichever layers follow it.
fn page<B>(response: Response<B>) -> Response<UnsyncBoxBody<Bytes, BoxError>>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    response.map(BodyExt::boxed_unsync)
}

impl Client {
    /// hyper-util's client with this connector, behind the layers of the world.
    pub(super) fn hyper<C>(world: &Arc<World>, connector: C) -> Self
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let settings = &world.settings;
        let progress = ProgressLayer::new();
        let handle = progress.handle();
        let circuit = CircuitBreakerLayer::http()
            .failure_threshold(settings.failure_threshold)
            .cooldown(settings.cooldown)
            .probe_timeout(settings.overall_limit * 2);
        let circuits = circuit.handle();
        let key = settings.keys.then(IdempotencyKeyLayer::new);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .http2_only(settings.http2)
            .retry_canceled_requests(settings.hidden_retries);
        let whole = |request: Request<Bytes>| request.map(Full::new);
        let api = match settings.stack {
            Stack::Pipeline => BoxCloneSyncService::new(
                ServiceBuilder::new()
                    .map_response(page)
                    .map_request(whole)
                    .layer(identified!(Request<Full<Bytes>>))
                    .option_layer(key)
                    .layer(pipeline!(world, progress, circuit))
                    .service(Attempts::new(world, builder.build(connector))),
            ),
            Stack::Streamed => {
                let uploading = world.clone();
                BoxCloneSyncService::new(
                    ServiceBuilder::new()
                        .map_response(page)
                        .map_request(move |request| Upload::of(&uploading, request))
                        .layer(identified!(Request<Upload>))
                        .option_layer(key)
                        .layer(ReplayLayer::new().max_body(settings.max_body))
                        .layer(pipeline!(world, progress, Identity::new()))
                        .service(Attempts::new(world, builder.build(connector))),
                )
            }
            Stack::Retry => BoxCloneSyncService::new(
                ServiceBuilder::new()
                    .map_response(page)
                    .map_request(whole)
                    .option_layer(key)
                    .layer(LogLayer::http_to(Watcher(world.clone())))
                    .layer(identified!(Request<Full<Bytes>>))
                    .layer(progress)
                    .layer(retry!(world))
                    .layer(TimeoutLayer::new(settings.attempt_limit).per_attempt())
                    .service(Attempts::new(world, builder.build(connector))),
            ),
        };
        Self {
            api,
            progress: handle,
            circuits,
        }
    }

    /// reqwest, behind the layers of the world.
    pub(super) fn reqwest(world: &Arc<World>) -> Self {
        let settings = &world.settings;
        let progress = ProgressLayer::new();
        let handle = progress.handle();
        let circuit = CircuitBreakerLayer::http()
            .failure_threshold(settings.failure_threshold)
            .cooldown(settings.cooldown)
            .probe_timeout(settings.overall_limit * 2);
        let circuits = circuit.handle();
        let key = settings.keys.then(IdempotencyKeyLayer::new);
        let builder = reqwest::Client::builder()
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_idle_timeout(settings.idle_timeout);
        let builder = match settings.http2 {
            true => builder.http2_prior_knowledge(),
            false => builder.http1_only(),
        };
        let attempts = Attempts::new(world, builder.build().unwrap());
        let page = |response: reqwest::Response| {
            let response = Response::<reqwest::Body>::from(response);
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        };
        let uploading = world.clone();
        let request = move |request: Request<Bytes>| {
            let request = match uploading.settings.stack {
                Stack::Streamed => Upload::of(&uploading, request).map(reqwest::Body::wrap),
                _ => request.map(reqwest::Body::from),
            };
            reqwest::Request::try_from(request).unwrap()
        };
        let stack = ServiceBuilder::new()
            .map_response(page)
            .map_request(request)
            .layer(identified!(reqwest::Request))
            .option_layer(key);
        let api = match settings.stack {
            Stack::Pipeline | Stack::Streamed => BoxCloneSyncService::new(
                stack
                    .layer(pipeline!(world, progress, circuit))
                    .service(attempts),
            ),
            Stack::Retry => BoxCloneSyncService::new(
                stack
                    .layer(LogLayer::http_to(Watcher(world.clone())))
                    .layer(progress)
                    .layer(retry!(world))
                    .layer(TimeoutLayer::new(settings.attempt_limit).per_attempt())
                    .service(attempts),
            ),
        };
        Self {
            api,
            progress: handle,
            circuits,
        }
    }

    /// Makes a call, and records what the user got.
    pub(super) async fn call(&self, world: Arc<World>, call: Call) {
        tokio::time::sleep_until(world.born + call.start).await;
        let exchange = exchange(self.api.clone(), &world, &call);
        let result = match call.dropped_after {
            Some(after) => tokio::time::timeout(after, exchange).await.ok(),
            None => Some(exchange.await),
        };
        let outcome = result.as_ref().map_or(Outcome::Dropped, outcome);
        world.record().results.insert(call.id, outcome);
        if let (true, Some(Ok(response))) = (call.reads, result) {
            // It may be truncated or stalled: that is after the result.
            let reading = response.into_body().collect();
            let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
        }
    }
}

async fn exchange(api: Api, world: &World, call: &Call) -> Result<Response<Page>, BoxError> {
    let authority = &world.authorities[call.server];
    let uri = format!("http://{authority}/{}?secret=1", call.id);
    let mut request = Request::builder().method(call.method.clone()).uri(uri);
    request = request.header("x-call", call.id);
    if call.own_key {
        request = request.header("idempotency-key", format!("\"own-{}\"", call.id));
    }
    let mut request = request.body(call.body.clone())?;
    if let Some(repeat) = call.repeat {
        request.extensions_mut().insert(repeat);
    }
    api.oneshot(request).await
}

/// What a result is.
pub(super) fn outcome<T: HttpResponse>(result: &Result<T, BoxError>) -> Outcome {
    match result {
        Ok(response) => {
            let arrival = response.headers().get("x-arrival");
            let arrival = arrival.map(|number| number.to_str().unwrap().parse().unwrap());
            Outcome::Response {
                status: response.status().as_u16(),
                // hyper's server itself answers a request that it cannot read.
                arrival: arrival.unwrap_or(usize::MAX),
            }
        }
        Err(error) => Outcome::Error {
            text: chain(&**error),
            rejection: Rejection::of(&**error),
        },
    }
}

/// An error with its sources.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
