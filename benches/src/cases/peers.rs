//! What others offer for the same purposes.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use failsafe::futures::CircuitBreaker;
use recloser::{AsyncRecloser, Recloser};
use singleflight_async::SingleFlight;
use tokio_util::sync::CancellationToken;
use tower::{
    Service, ServiceBuilder,
    layer::{layer_fn, util::Identity},
    retry::Policy,
    service_fn,
};
use tower_resilience::{circuitbreaker, coalesce, retry, timelimiter};

use super::{Case, Cases, Stack};
use crate::{
    drive::Spawned,
    inner::{Broken, Inner},
};

const MINUTE: Duration = Duration::from_secs(60);
const COOLDOWN: Duration = Duration::from_secs(3600);

/// Each of tower's retries takes a policy; this one does nothing.
#[derive(Clone)]
struct Never;

impl Policy<u64, u64, Broken> for Never {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, _: &mut Result<u64, Broken>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn resilience_breaker() -> circuitbreaker::CircuitBreakerLayer {
    circuitbreaker::CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(COOLDOWN)
        .build()
        .expect("the settings are sound")
}

fn resilience_retry<E>() -> retry::RetryLayer<u64, u64, E> {
    retry::RetryLayer::builder()
        .max_attempts(4)
        .exponential_backoff(Duration::from_secs(1))
        .build()
}

fn resilience_coalesce()
-> coalesce::CoalesceLayer<u64, u64, impl Fn(&u64) -> u64 + Clone + Send + Sync + 'static> {
    coalesce::CoalesceLayer::new(|request: &u64| *request)
}

fn resilience_time_limiter() -> timelimiter::TimeLimiterLayer {
    timelimiter::TimeLimiterLayer::builder()
        .timeout_duration(MINUTE)
        .cancel_running_future(true)
        .build()
}

/// tower-resilience's circuit breaker.
pub fn resilience_breaker_layer() -> impl Stack {
    resilience_breaker()
}

/// tower-resilience's counterparts of Dedup, CircuitBreaker, Timeout and Retry.
pub fn resilience_four() -> impl Stack {
    ServiceBuilder::new()
        .layer(resilience_coalesce())
        // Its errors have to be `Clone`, which those of the others are not.
        .map_err(|_| Broken)
        .layer(resilience_breaker())
        .layer(resilience_time_limiter())
        .layer(resilience_retry())
}

fn failsafe_breaker() -> impl CircuitBreaker + Clone + Send + 'static {
    let cooldown = failsafe::backoff::constant(COOLDOWN);
    let policy = failsafe::failure_policy::consecutive_failures(5, cooldown);
    failsafe::Config::new().failure_policy(policy).build()
}

/// Half of the last 100 calls.
fn recloser_breaker() -> AsyncRecloser {
    Recloser::custom()
        .error_rate(0.5)
        .closed_len(100)
        .open_wait(COOLDOWN)
        .build()
        .into()
}

/// A circuit breaker that is no layer, around the inner service's future. A macro, as there are two
/// inner services.
macro_rules! around_future {
    ($breaker:expr) => {
        layer_fn(|mut inner| {
            let breaker = $breaker;
            service_fn(move |request: u64| breaker.call(Service::call(&mut inner, request)))
        })
    };
}

/// failsafe's circuit breaker.
pub fn failsafe() -> impl Stack {
    around_future!(failsafe_breaker())
}

/// recloser's circuit breaker.
pub fn recloser() -> impl Stack {
    around_future!(recloser_breaker())
}

pub(super) fn add(cases: &mut Cases) {
    cases.add("bare", Identity::new());
    tower(cases);
    resilience(cases);
    others(cases);
    spawn(cases);
}

fn tower(cases: &mut Cases) {
    cases.add("tower timeout", tower::timeout::TimeoutLayer::new(MINUTE));
    cases.add("tower retry", tower::retry::RetryLayer::new(Never));
    cases.add(
        "tower timeout + retry",
        ServiceBuilder::new()
            .timeout(MINUTE)
            .layer(tower::retry::RetryLayer::new(Never)),
    );
}

fn resilience(cases: &mut Cases) {
    cases.add("resilience time limiter", resilience_time_limiter());
    cases.add("resilience retry", resilience_retry());
    cases.add("resilience breaker", resilience_breaker());
    cases.add("resilience coalesce", resilience_coalesce());
    cases.add(
        "resilience breaker + limiter + retry",
        ServiceBuilder::new()
            .layer(resilience_breaker())
            .layer(resilience_time_limiter())
            .layer(resilience_retry()),
    );
    cases.add("resilience all four", resilience_four());
    cases.add_rejecting("rejection, resilience", resilience_breaker());
}

/// These are no layers: they are put around the inner service's future, or around what makes it.
fn others(cases: &mut Cases) {
    cases.add("failsafe", failsafe());
    cases.add("recloser", recloser());
    cases.add_rejecting("rejection, failsafe", around_future!(failsafe_breaker()));
    cases.add_rejecting("rejection, recloser", around_future!(recloser_breaker()));

    cases.add(
        "backon",
        layer_fn(|inner: Inner| {
            service_fn(move |request| {
                let mut inner = inner.clone();
                let call = move || inner.call(request);
                call.retry(ExponentialBuilder::default().with_max_times(3))
            })
        }),
    );
    cases.add(
        "tokio-util run_until_cancelled",
        layer_fn(|mut inner: Inner| {
            let token = CancellationToken::new();
            service_fn(move |request| {
                let token = token.child_token();
                let call = inner.call(request);
                async move { token.run_until_cancelled(call).await.unwrap_or(Err(Broken)) }
            })
        }),
    );
    cases.add(
        "singleflight-async",
        layer_fn(|inner: Inner| {
            let flights = SingleFlight::<u64, Result<u64, Broken>>::new();
            service_fn(move |request| {
                let mut inner = inner.clone();
                flights.work(request, move || inner.call(request))
            })
        }),
    );
}

fn spawn(cases: &mut Cases) {
    let spawn = |mut inner: Inner| {
        let call = move |request| {
            let task = tokio::spawn(inner.call(request));
            async { matches!(task.await, Ok(Ok(_))) }
        };
        Box::new(Spawned::new(call, &cases.runtime))
    };
    let case = Case {
        name: "tokio::spawn",
        ours: cases.ours,
        is_timed: true,
        ready: spawn(Inner::ready()),
        pends: Some(spawn(Inner::yielding())),
        bytes: size_of::<tokio::task::JoinHandle<()>>(),
    };
    cases.all.push(case);
}
