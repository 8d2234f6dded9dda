//! How a test tells whether two layers share state.

use std::{
    any::Any,
    fmt::Debug,
    future::{Future, Pending, Ready, pending, poll_fn, ready},
    pin::Pin,
    time::Duration,
};

use tokio::{runtime::Builder, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, ErrorsAsFailures, LogLayer,
    Pipeline, ProgressLayer, RetryLayer,
    circuit_breaker::{Backpressure, PerKey, Single, State},
    dedup::KeyBy,
    reject::Fail,
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

macro_rules! circuit {
    ($gate:ty) => {
        impl<C: Clone, O: Clone> Witness for CircuitBreakerLayer<C, O, $gate> {
            fn touch(&self) -> Kept {
                self.handle().force_open();
                Box::new(())
            }

            fn view(&self) -> View {
                let handle = self.handle();
                Box::new(move || handle.state() == State::Open)
            }
        }
    };
}

circuit!(Single);
circuit!(Backpressure);

impl<C: Clone, O: Clone, F: Clone> Witness for CircuitBreakerLayer<C, O, PerKey<F, u32>> {
    fn touch(&self) -> Kept {
        self.handle().force_open_for(7, Duration::from_secs(60));
        Box::new(())
    }

    fn view(&self) -> View {
        let handle = self.handle();
        Box::new(move || !handle.is_empty())
    }
}

impl Base for CircuitBreakerLayer {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        failing(self)
    }
}

impl Base for CircuitBreakerLayer<ErrorsAsFailures, Fail, Backpressure> {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        failing(self)
    }
}

pub(super) type ByU32 = PerKey<fn(&u32) -> u32, u32>;

impl Base for CircuitBreakerLayer<ErrorsAsFailures, Fail, ByU32> {
    fn service(&self) -> Box<dyn FnOnce() -> Kept> {
        failing(self)
    }
}

impl<F, M, O> Witness for DedupLayer<KeyBy<F, u32>, M, O>
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

impl<F, M, O> Base for DedupLayer<KeyBy<F, u32>, M, O>
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

impl<G, O, H> Witness for CancelLayer<G, O, H>
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

impl<G, O, H> Base for CancelLayer<G, O, H>
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

type ByRequest = DedupLayer<KeyBy<fn(&u32) -> Option<u32>, u32>>;

/// With a layer in each slot.
pub(super) type Full = Pipeline<LogLayer, ProgressLayer, CancelLayer, ByRequest>;

/// Its layers are reached through what is built of it.
impl Witness for Full {
    fn touch(&self) -> Kept {
        let layers = self.clone().build().unwrap();
        let kept = [
            layers.progress().touch(),
            layers.cancel().touch(),
            layers.dedup().touch(),
            layers.circuit_breaker().touch(),
        ];
        Box::new(kept)
    }

    fn view(&self) -> View {
        let layers = self.clone().build().unwrap();
        let views = [
            layers.progress().view(),
            layers.cancel().view(),
            layers.dedup().view(),
            layers.circuit_breaker().view(),
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
pub(super) async fn waits<P, C, H, B, N, A>(layer: &RetryLayer<P, C, H, B, N, A>) -> Duration
where
    RetryLayer<P, C, H, B, N, A>: Layer<Broken, Service: Service<u32>>,
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
