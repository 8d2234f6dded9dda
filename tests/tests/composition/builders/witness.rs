//! How a test tells whether two layers share state.

use std::{
    any::Any,
    fmt::Debug,
    future::{Future, Pending, Ready, pending, poll_fn, ready},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full as Whole;
use tokio::{runtime::Builder, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, LogLayer, Pipeline,
    ProgressLayer, RetryLayer,
    circuit_breaker::{CircuitBreakerHandle, CircuitsHandle, State},
    http::{
        body::ByteCount,
        shared_get::HttpGetLayer,
        upload::{TransferCount, UploadBody},
    },
};
use tower_keep_test::{FaultLayer, Polled};

/// What a test has to keep for as long as something is to go on.
pub(super) type Kept = Box<dyn Any>;

/// Whether the state of a layer was touched, as its handles see it.
pub(super) type View = Box<dyn Fn() -> bool>;

/// A layer with state.
pub(super) trait Witness: Clone + Debug {
    /// Changes the state.
    fn touch(&self) -> Kept;

    /// A handle.
    fn view(&self) -> View;
}

/// A layer whose service can be made and called.
pub(super) trait Base: Witness {
    /// A service, which changes the state when this is called.
    fn service(&self) -> Box<dyn FnOnce() -> Kept>;
}

pub(super) type Silent = ServiceFn<fn(u32) -> Pending<Result<u32, BoxError>>>;

/// A service that never answers.
pub(super) fn silent() -> Silent {
    service_fn(|_| pending())
}

/// Calls once it is ready, and keeps what the call is by then.
fn held<S>(service: S) -> Kept
where
    S: Service<u32, Response: 'static, Error: Debug + 'static, Future: 'static> + 'static,
{
    let mut service = Polled::new(service.ready_oneshot()).assert_ready().unwrap();
    let mut response = Polled::new(service.call(1));
    let begun = response.poll();
    Box::new((begun, response, service))
}

/// Fails so often that a circuit with the defaults opens.
fn failing<L>(layer: &L) -> Box<dyn FnOnce() -> Kept>
where
    L: Layer<Broken, Service: Service<u32, Error: Debug> + 'static>,
{
    let mut service = layer.layer(broken());
    Box::new(move || {
        for request in 0..6 {
            let ready = poll_fn(|cx| service.poll_ready(cx));
            Polled::new(ready).assert_ready().unwrap();
            let _ = Polled::new(service.call(request)).assert_ready();
        }
        Box::new(service)
    })
}

/// A circuit breaker layer, whichever its kind of circuit, with the way to its handle.
#[derive(Clone)]
pub(super) struct Circuit<L, H> {
    pub(super) layer: L,
    pub(super) handle: fn(&L) -> H,
}

impl<L: Debug, H> Debug for Circuit<L, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.layer.fmt(f)
    }
}

/// The handle of a circuit breaker layer.
pub(super) trait OpensByHand: Clone + 'static {
    fn open(&self);
    fn is_touched(&self) -> bool;
}

impl OpensByHand for CircuitBreakerHandle {
    fn open(&self) {
        self.force_open();
    }

    fn is_touched(&self) -> bool {
        self.state() == State::Open
    }
}

impl OpensByHand for CircuitsHandle<u32> {
    fn open(&self) {
        self.force_open_for(7, Duration::from_secs(60));
    }

    fn is_touched(&self) -> bool {
        !self.is_empty()
    }
}

impl<L: Clone + Debug, H: OpensByHand> Witness for Circuit<L, H> {
    fn touch(&self) -> Kept {
        (self.handle)(&self.layer).open();
        Box::new(())
    }

    fn view(&self) -> View {
        let handle = (self.handle)(&self.layer);
        Box::new(move || handle.is_touched())
    }
}

impl<L, H: OpensByHand> Base for Circuit<L, H>
where
    L: Clone + Debug + Layer<Broken, Service: Service<u32, Error: Debug> + 'static>,
{
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        failing(&self.layer)
    }
}

impl<F, M, O> Witness for DedupLayer<F, u32, M, O>
where
    Self: Clone
        + Debug
        + Layer<
            Silent,
            Service: Service<u32, Response: 'static, Error: Debug + 'static, Future: 'static>
                         + 'static,
        >,
{
    fn touch(&self) -> Kept {
        held(self.layer(silent()))
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || !handle.in_flight().is_empty())
    }
}

impl<F, M, O> Base for DedupLayer<F, u32, M, O>
where
    Self: Witness
        + Layer<
            Silent,
            Service: Service<u32, Response: 'static, Error: Debug + 'static, Future: 'static>
                         + 'static,
        >,
{
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        let service = self.layer(silent());
        Box::new(move || held(service))
    }
}

/// A GET that gets no answer.
fn silent_get(layer: &HttpGetLayer) -> Box<dyn FnOnce() -> Kept> {
    let server = |_: Request<String>| pending::<Result<Response<String>, BoxError>>();
    let mut service = layer.layer(service_fn(server));
    Box::new(move || {
        let ready = poll_fn(|cx| Service::<Request<String>>::poll_ready(&mut service, cx));
        Polled::new(ready).assert_ready().unwrap();
        let mut response = Polled::new(service.call(Request::default()));
        let begun = response.poll().is_ready();
        Box::new((begun, response, service))
    })
}

impl Witness for HttpGetLayer {
    fn touch(&self) -> Kept {
        silent_get(self)()
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || !handle.in_flight().is_empty())
    }
}

impl Base for HttpGetLayer {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        silent_get(self)
    }
}

impl Witness for ProgressLayer {
    fn touch(&self) -> Kept {
        held(self.layer(silent()))
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || !handle.jobs().is_empty())
    }
}

impl Base for ProgressLayer {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        let service = self.layer(silent());
        Box::new(move || held(service))
    }
}

/// A client that never answers.
type Endless<B> = ServiceFn<fn(Request<B>) -> Pending<Result<Response<Whole<Bytes>>, BoxError>>>;

/// Calls such a client through the layer.
fn upload<L, B>(layer: &L) -> Box<dyn FnOnce() -> Kept>
where
    L: Layer<Endless<B>>,
    L::Service: Service<Request<Whole<Bytes>>, Response: 'static, Error: Debug + 'static, Future: 'static>
        + 'static,
    B: 'static,
{
    let client: Endless<B> = service_fn(|_| pending());
    let service = layer.layer(client);
    let service = service.map_request(|_: u32| Request::new(Whole::from("an upload")));
    Box::new(move || held(service))
}

impl Witness for ProgressLayer<ByteCount> {
    fn touch(&self) -> Kept {
        upload::<_, Whole<Bytes>>(self)()
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || !handle.jobs().is_empty())
    }
}

impl Base for ProgressLayer<ByteCount> {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        upload::<_, Whole<Bytes>>(self)
    }
}

impl Witness for ProgressLayer<TransferCount> {
    fn touch(&self) -> Kept {
        upload::<_, UploadBody<Whole<Bytes>>>(self)()
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || !handle.jobs().is_empty())
    }
}

impl<G, D, O> Witness for CancelLayer<G, D, O>
where
    Self: Clone + Debug,
{
    fn touch(&self) -> Kept {
        self.handle().shutdown_now();
        Box::new(())
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || handle.is_shut_down() || !handle.jobs().is_empty())
    }
}

impl<G, D, O> Base for CancelLayer<G, D, O>
where
    Self: Witness
        + Layer<
            Silent,
            Service: Service<u32, Response: 'static, Error: Debug + 'static, Future: 'static>
                         + 'static,
        >,
{
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        let service = self.layer(silent());
        Box::new(move || held(service))
    }
}

impl<N, O, I> Witness for Dispatcher<Silent, N, O, I>
where
    Self: Clone
        + Debug
        + Service<u32, Response: 'static, Error: Debug + 'static, Future: 'static>
        + 'static,
{
    fn touch(&self) -> Kept {
        held(self.clone())
    }

    fn view(&self) -> View {
        let (board, cancel) = (self.progress_handle(), self.cancel_handle());
        Box::new(move || !board.jobs().is_empty() || !cancel.jobs().is_empty())
    }
}

impl Base for Dispatcher<Silent> {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        let service = self.clone();
        Box::new(move || held(service))
    }
}

pub(super) type SilentPages = ServiceFn<fn(Request<u32>) -> Pending<Result<Page, BoxError>>>;

type Page = Response<String>;

/// An HTTP client that gets no answer.
pub(super) fn silent_pages() -> SilentPages {
    service_fn(|_| pending())
}

impl<N, I, O, E> Witness for Dispatcher<SilentPages, N, I, O, E>
where
    Self: Clone
        + Debug
        + Service<Request<u32>, Response: 'static, Error: Debug + 'static, Future: 'static>
        + 'static,
{
    fn touch(&self) -> Kept {
        held(self.clone().map_request(Request::new))
    }

    fn view(&self) -> View {
        let (board, cancel) = (self.progress_handle(), self.cancel_handle());
        Box::new(move || !board.jobs().is_empty() || !cancel.jobs().is_empty())
    }
}

impl Base for Dispatcher<SilentPages> {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        let service = self.clone();
        Box::new(move || held(service.map_request(Request::new)))
    }
}

type ByRequest = DedupLayer<fn(&u32) -> Option<u32>, u32>;

/// With a layer in each slot.
pub(super) type Full = Pipeline<LogLayer, ProgressLayer, CancelLayer, ByRequest>;

fn by_hand(layer: &CircuitBreakerLayer) -> Circuit<CircuitBreakerLayer, CircuitBreakerHandle> {
    Circuit {
        layer: layer.clone(),
        handle: |layer| layer.handle(),
    }
}

/// Its layers are reached through what is built of it.
impl Witness for Full {
    fn touch(&self) -> Kept {
        let layers = self.clone().build().unwrap();
        let kept = [
            layers.progress().touch(),
            layers.cancel().touch(),
            layers.dedup().touch(),
            by_hand(layers.circuit_breaker()).touch(),
        ];
        Box::new(kept)
    }

    fn view(&self) -> View {
        let layers = self.clone().build().unwrap();
        let views = [
            layers.progress().view(),
            layers.cancel().view(),
            layers.dedup().view(),
            by_hand(layers.circuit_breaker()).view(),
        ];
        Box::new(move || views.iter().any(|touched| touched()))
    }
}

impl Witness for FaultLayer {
    fn touch(&self) -> Kept {
        held(self.layer(silent()))
    }

    fn view(&self) -> View {
        let faults = self.faults();
        Box::new(move || faults.count() > 0)
    }
}

impl Base for FaultLayer {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        let service = self.layer(silent());
        Box::new(move || held(service))
    }
}

/// How long the retries of one call that fails take.
pub(super) async fn waits<P, X>(layer: &RetryLayer<P, X>) -> Duration
where
    RetryLayer<P, X>: Layer<Broken, Service: Service<u32>>,
{
    let began = Instant::now();
    let _ = layer.layer(broken()).oneshot(1).await;
    began.elapsed()
}

pub(super) type Broken = ServiceFn<fn(u32) -> Ready<Result<u32, BoxError>>>;

/// A service that fails.
pub(super) fn broken() -> Broken {
    service_fn(|_| ready(Err("broken".into())))
}

/// Runs this on a paused clock of its own. What it panics with is a problem too.
pub(super) fn in_time(check: Check) -> Result<(), String> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(check())
}

/// Finds out whether anything is wrong.
pub(super) type Check = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<(), String>>>>>;
