//! The client: the layers around hyper-util's client, and the calls of the user.

use std::{
    collections::VecDeque,
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::{
    client::legacy::{self, connect::Connect},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Sleep;
use tower::{Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CircuitBreakerLayer, IdempotencyKeyLayer, Job, JobLayer, LogLayer, Pipeline,
    ProgressLayer, Ratio, Rejection, ReplayLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::CircuitsHandle,
    http::{Authority, Hint},
    progress::ProgressHandle,
    retry::RetryBudget,
};

use super::{
    plan::{Call, Settings, Stack, Wrong, chance, rng},
    record::{Attempt, Outcome, Watcher, World},
};

/// What the user calls.
type Api = BoxCloneSyncService<Request<Bytes>, Response<Incoming>, BoxError>;

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
            Some(Wrong::IgnoresHints) => retry.hints(|_: StatusCode, headers: &http::HeaderMap| {
                let asks = headers.contains_key("retry-after");
                asks.then_some(Hint::Wait(Duration::ZERO))
            }),
        }
    }};
}

/// Names the job after the call.
macro_rules! identified {
    () => {
        JobLayer::new("exchange").identified_by(|request: &Request<_>| {
            Some(request.headers()["x-call"].to_str().unwrap().to_owned())
        })
    };
}

impl Client {
    /// The client of a world, with this connector.
    pub(super) fn new<C>(world: &Arc<World>, connector: C) -> Self
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
        let log = LogLayer::http_to(Watcher(world.clone()));
        let attempt = TimeoutLayer::new(settings.attempt_limit).per_attempt();
        let overall = TimeoutLayer::new(settings.overall_limit);
        let key = settings.keys.then(IdempotencyKeyLayer::new);
        let key = tower::util::option_layer(key);
        let api = match settings.stack {
            Stack::Pipeline => {
                let pipeline = Pipeline::http_client()
                    .log(log)
                    .progress(progress)
                    .circuit_breaker(circuit)
                    .timeout(overall)
                    .retry(retry!(world))
                    .attempt_timeout(attempt);
                let stack = ServiceBuilder::new()
                    .map_request(|request: Request<Bytes>| request.map(Full::new))
                    .layer(identified!())
                    .layer(key)
                    .layer(pipeline.build().unwrap())
                    .service(transport(world, connector));
                BoxCloneSyncService::new(stack)
            }
            Stack::Streamed => {
                let pipeline = Pipeline::http_client()
                    .log(log)
                    .progress(progress)
                    .circuit_breaker(tower_keep::pipeline::Identity::new())
                    .timeout(overall)
                    .retry(retry!(world))
                    .attempt_timeout(attempt);
                let streaming = world.clone();
                let stack = ServiceBuilder::new()
                    .map_request(move |request| streamed(&streaming, request))
                    .layer(identified!())
                    .layer(key)
                    .layer(ReplayLayer::new().max_body(settings.max_body))
                    .layer(pipeline.build().unwrap())
                    .service(transport(world, connector));
                BoxCloneSyncService::new(stack)
            }
            Stack::Retry => {
                let stack = ServiceBuilder::new()
                    .map_request(|request: Request<Bytes>| request.map(Full::new))
                    .layer(key)
                    .layer(log)
                    .layer(identified!())
                    .layer(progress)
                    .layer(retry!(world))
                    .layer(attempt)
                    .service(transport(world, connector));
                BoxCloneSyncService::new(stack)
            }
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
        let exchange = exchange(self.api.clone(), &call);
        let result = match call.dropped_after {
            Some(after) => tokio::time::timeout(after, exchange).await.ok(),
            None => Some(exchange.await),
        };
        let outcome = match &result {
            Some(result) => outcome(result),
            None => Outcome::Dropped,
        };
        world.record().results.insert(call.id, outcome);
        if let (true, Some(Ok(response))) = (call.reads, result) {
            // It may be truncated or stalled: that is after the result.
            let reading = response.into_body().collect();
            let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
        }
    }
}

async fn exchange(api: Api, call: &Call) -> Result<Response<Incoming>, BoxError> {
    let uri = format!("http://{}/{}?secret=1", call.authority, call.id);
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
fn outcome<B>(result: &Result<Response<B>, BoxError>) -> Outcome {
    match result {
        Ok(response) => {
            let arrival = response.headers().get("x-arrival");
            Outcome::Response {
                status: response.status().as_u16(),
                // The server of the protocol itself answers a request that it cannot read.
                arrival: arrival.map_or(usize::MAX, |number| {
                    number.to_str().unwrap().parse().unwrap()
                }),
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

/// hyper-util's client. It records the attempts.
#[derive(Debug)]
struct Transport<C, B> {
    world: Arc<World>,
    client: legacy::Client<C, B>,
}

fn transport<C, B>(world: &Arc<World>, connector: C) -> Transport<C, B>
where
    C: Connect + Clone,
    B: Body + Send,
    B::Data: Send,
{
    let settings = &world.settings;
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        .http2_only(settings.http2)
        .retry_canceled_requests(settings.hidden_retries)
        .build(connector);
    Transport {
        world: world.clone(),
        client,
    }
}

impl<C: Clone, B> Clone for Transport<C, B> {
    fn clone(&self) -> Self {
        Self {
            world: self.world.clone(),
            client: self.client.clone(),
        }
    }
}

impl<C, B> Service<Request<B>> for Transport<C, B>
where
    C: Connect + Clone + Send + Sync + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let world = self.world.clone();
        let call = request.headers()["x-call"].to_str().unwrap();
        let call: u64 = call.parse().unwrap();
        let number = {
            let mut record = world.record();
            let attempts = record.attempts.entry(call).or_default();
            attempts.push(Attempt {
                begun: world.now(),
                ended: None,
                number: Job::current().attempt(),
                outcome: None,
            });
            attempts.len()
        };
        let headers = request.headers_mut();
        headers.insert("x-attempt", HeaderValue::from(number));
        let exchange = self.client.request(request);
        Box::pin(async move {
            let ending = Ending(&world, call, number - 1);
            let result = exchange.await.map_err(BoxError::from);
            ending.of(outcome(&result));
            result
        })
    }
}

/// Records when an attempt ended, also if it is dropped.
struct Ending<'a>(&'a World, u64, usize);

impl Ending<'_> {
    fn of(&self, outcome: Outcome) {
        let Self(world, call, index) = *self;
        world.record().attempts.get_mut(&call).unwrap()[index].outcome = Some(outcome);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let Self(world, call, index) = *self;
        let now = world.now();
        world.record().attempts.get_mut(&call).unwrap()[index].ended = Some(now);
    }
}

/// A request with a body that is sent in chunks, with pauses.
fn streamed(world: &World, request: Request<Bytes>) -> Request<Chunks> {
    let call = request.headers()["x-call"].to_str().unwrap();
    let call = world.call(call.parse().unwrap());
    let (size, pause) = call.chunks;
    let has_length = call.has_length;
    let fails = chance(&mut rng(world.settings.seed, "upload", [call.id, 0]), 3);
    request.map(|body| Chunks {
        chunks: body.chunks(size).map(|chunk| body.slice_ref(chunk)).collect(),
        pause,
        sleep: None,
        has_length,
        fails,
    })
}

/// A streamed request body.
struct Chunks {
    chunks: VecDeque<Bytes>,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    has_length: bool,
    /// It fails after its first chunk.
    fails: bool,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.fails {
                return Poll::Ready(Some(Err("the upload failed".into())));
            }
        }
        let Some(chunk) = self.chunks.pop_front() else {
            return Poll::Ready(None);
        };
        self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.fails
    }

    fn size_hint(&self) -> SizeHint {
        match self.has_length {
            true => SizeHint::with_exact(self.chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            false => SizeHint::default(),
        }
    }
}
