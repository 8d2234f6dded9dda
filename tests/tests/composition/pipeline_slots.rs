//! What a pipeline does where a slot is empty.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, DedupLayer, Job, Pipeline, RetryLayer, TimeoutLayer,
    pipeline::Identity,
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

const EMPTY: Identity = Identity::new();

/// R62: with every slot empty there is nothing around the service, and no job.
#[tokio::test(start_paused = true)]
async fn a_pipeline_may_be_empty() {
    let pipeline = Pipeline::new()
        .log(EMPTY)
        .progress(EMPTY)
        .cancel(EMPTY)
        .dedup(EMPTY)
        .circuit_breaker(EMPTY)
        .timeout(EMPTY)
        .retry(EMPTY)
        .attempt_timeout(EMPTY)
        .build()
        .unwrap();
    let inner = tower::service_fn(|n: u32| {
        assert_eq!(Job::current().id(), None);
        ready(Ok::<_, std::convert::Infallible>(n))
    });
    assert_eq!(pipeline.layer(inner).oneshot(7).await, Ok(7));
}

/// R62: each slot can be the empty one; what the others do goes on.
#[tokio::test(start_paused = true)]
async fn each_slot_may_be_empty() {
    macro_rules! recovers {
        ($($slot:ident),+) => {$(
            let inner = Scripted::<u32, u32>::new().error("no").answer(1);
            let pipeline = Pipeline::new()
                .dedup(DedupLayer::new(|key: &u32| Some(*key)))
                .$slot(EMPTY)
                .build()
                .unwrap();
            let result = pipeline.layer(inner.strict()).oneshot(0).await;
            assert_eq!(result.ok(), (stringify!($slot) != "retry").then_some(1));
        )+};
    }
    recovers!(
        log,
        progress,
        cancel,
        dedup,
        circuit_breaker,
        timeout,
        retry,
        attempt_timeout
    );
}

/// R62: what is not there contradicts nothing. Each of these settings is refused next to what the
/// last line takes away.
#[test]
fn an_empty_slot_is_not_checked() {
    let attempt = || {
        let attempt = TimeoutLayer::new(secs(61)).per_attempt();
        Pipeline::new().attempt_timeout(attempt)
    };
    attempt().build().unwrap_err();
    attempt().timeout(EMPTY).build().unwrap();

    let overall = || Pipeline::new().timeout(TimeoutLayer::new(secs(9)));
    overall().build().unwrap_err();
    overall().attempt_timeout(EMPTY).build().unwrap();

    let waits = || Pipeline::new().retry(RetryLayer::new().max_retries(6));
    waits().build().unwrap_err();
    waits().timeout(EMPTY).build().unwrap();
    let short = || {
        overall()
            .attempt_timeout(EMPTY)
            .timeout(TimeoutLayer::new(secs(7)))
    };
    short().build().unwrap_err();
    short().retry(EMPTY).build().unwrap();

    let probe = || {
        let breaker = CircuitBreakerLayer::new().probe_timeout(secs(59));
        Pipeline::new().circuit_breaker(breaker)
    };
    probe().build().unwrap_err();
    probe().timeout(EMPTY).build().unwrap();
    probe().circuit_breaker(EMPTY).build().unwrap();

    let step = || Pipeline::new().timeout(TimeoutLayer::new(secs(60)).step_limit(secs(11)));
    step().build().unwrap_err();
    step().attempt_timeout(EMPTY).build().unwrap();
}

/// R62: what is there is checked all the same.
#[test]
fn the_rest_is_checked() {
    let misplaced = Pipeline::new()
        .timeout(EMPTY)
        .attempt_timeout(TimeoutLayer::new(secs(10)));
    let error = misplaced.build().unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
    let step = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(60)).step_limit(secs(61)))
        .attempt_timeout(EMPTY);
    let error = step.build().unwrap_err();
    assert_eq!(error.settings(), ("step_limit", "timeout"));
}

/// Says which instance was called. They are ready together.
struct Numbered {
    number: u32,
    clones: Arc<AtomicU32>,
    ready: Arc<AtomicBool>,
}

impl Clone for Numbered {
    fn clone(&self) -> Self {
        Self {
            number: self.clones.fetch_add(1, Ordering::Relaxed) + 1,
            clones: self.clones.clone(),
            ready: self.ready.clone(),
        }
    }
}

impl Service<u32> for Numbered {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready.load(Ordering::Relaxed) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, _: u32) -> Self::Future {
        ready(Ok(self.number))
    }
}

/// R62: a pipeline without a key is as ready as its service, and calls the instance that was asked;
/// the one clone is for a retry.
#[tokio::test(start_paused = true)]
async fn without_a_key_readiness_is_passed_on() {
    let inner = Numbered {
        number: 0,
        clones: Arc::default(),
        ready: Arc::default(),
    };
    let (clones, is_ready) = (inner.clones.clone(), inner.ready.clone());
    let mut service = Pipeline::new().build().unwrap().layer(inner);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_pending());
    is_ready.store(true, Ordering::Relaxed);
    assert!(service.poll_ready(cx).is_ready());
    assert_eq!(clones.load(Ordering::Relaxed), 0);
    assert_eq!(service.call(1).await.unwrap(), 0);
    assert_eq!(clones.load(Ordering::Relaxed), 1);
}
