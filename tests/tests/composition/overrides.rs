//! What a request says itself: limits, retries, and whether it is deduplicated.

use std::time::Duration;

use http::Request;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CircuitBreakerLayer, DedupLayer, Dispatcher, GiveUpReason, Job, Pipeline, RetryLayer,
    TimeoutLayer, find,
    retry::RetryBudget,
    timeout::{Elapsed, LimitScope},
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// What a caller puts into the extensions of a request.
#[derive(Clone, Copy)]
struct Patience(Duration);

#[derive(Clone, Copy)]
struct Retries(u32);

#[derive(Clone, Copy)]
struct NoDedup;

#[derive(Clone, Copy)]
struct NoCache;

type Asked = Request<u32>;

fn patience(request: &Asked) -> Option<Duration> {
    request.extensions().get().map(|Patience(limit)| *limit)
}

fn retries(request: &Asked) -> Option<u32> {
    request.extensions().get().map(|Retries(count)| *count)
}

fn with<T: Clone + Send + Sync + 'static>(extension: T) -> Asked {
    let mut request = Request::new(0);
    request.extensions_mut().insert(extension);
    request
}

fn plain() -> Asked {
    Request::new(0)
}

/// How long the call took until its limit expired.
async fn expires<S>(service: S, request: Asked) -> Duration
where
    S: Service<Asked, Response = u32, Error = BoxError>,
{
    let start = Instant::now();
    let error = service.oneshot(request).await.unwrap_err();
    let elapsed = find::<Elapsed>(&*error).unwrap();
    assert_eq!(elapsed.limit(), start.elapsed());
    start.elapsed()
}

/// R78 each kind of limit: the request's own, else the layer's, and none.
#[tokio::test(start_paused = true)]
async fn a_request_sets_its_limit() {
    let ten = TimeoutLayer::new(secs(10));
    for limit in [
        ten.clone(),
        ten.clone().per_attempt(),
        ten.clone().idle(),
        ten.per_attempt().idle(),
    ] {
        let hangs = Scripted::<Asked, u32>::new().never().repeat_last();
        let service = limit.clone().limit_by(patience).layer(hangs);
        assert_eq!(expires(service.clone(), plain()).await, secs(10));
        assert_eq!(
            expires(service.clone(), with(Patience(secs(3)))).await,
            secs(3)
        );
        assert_eq!(expires(service, with(Patience(secs(20)))).await, secs(20));
        // None at all.
        let slow = Scripted::<Asked, u32>::new().answer_after(secs(1_000_000), 7);
        let service = limit.limit_by(patience).layer(slow);
        assert_eq!(
            service
                .oneshot(with(Patience(Duration::MAX)))
                .await
                .unwrap(),
            7
        );
    }
}

/// R78 with `by` alone a request without a limit has none. The setting and its default are one
/// setting.
#[tokio::test(start_paused = true)]
async fn without_a_default_there_is_none() {
    for limit in [
        TimeoutLayer::none().limit_by(patience),
        TimeoutLayer::none().limit_by(patience),
    ] {
        let slow = Scripted::<Asked, u32>::new().answer_after(secs(1_000_000), 7);
        let service = limit.clone().layer(slow);
        assert_eq!(service.oneshot(plain()).await.unwrap(), 7);
        let hangs = Scripted::<Asked, u32>::new().never();
        assert_eq!(
            expires(limit.layer(hangs), with(Patience(secs(1)))).await,
            secs(1)
        );
    }
}

/// R78 the limit of each step, in any order of the settings, with a tracked job and with a job that
/// begins below.
#[tokio::test(start_paused = true)]
async fn a_request_sets_the_limit_of_its_steps() {
    let limits = [
        TimeoutLayer::none()
            .step_limit(secs(5))
            .step_limit_by(patience),
        TimeoutLayer::none()
            .step_limit_by(patience)
            .step_limit(secs(5)),
    ];
    for limit in limits {
        for graced in [false, true] {
            let limit = match graced {
                true => limit.clone().grace(secs(1)),
                false => limit.clone(),
            };
            let steps = || {
                service_fn(|_: Asked| async {
                    let start = Instant::now();
                    let hangs = std::future::pending::<Result<u32, BoxError>>();
                    let hangs = Job::current().step("hangs", hangs);
                    let ended = tokio::time::timeout(secs(100), hangs).await;
                    Ok::<_, BoxError>((start.elapsed(), ended.is_ok()))
                })
            };
            for inside in [false, true] {
                for (request, took) in [
                    (plain(), (secs(5), true)),
                    (with(Patience(secs(2))), (secs(2), true)),
                    (with(Patience(Duration::MAX)), (secs(100), false)),
                ] {
                    let (log, _) = recording();
                    let limit = limit.clone();
                    let ended = match inside {
                        true => log.layer(limit.layer(steps())).oneshot(request).await,
                        false => limit.layer(log.layer(steps())).oneshot(request).await,
                    };
                    assert_eq!(ended.unwrap(), took, "graced: {graced}, inside: {inside}");
                }
            }
        }
    }
}

/// R78 the number of retries: the request's own, none for this one, else the layer's.
#[tokio::test(start_paused = true)]
async fn a_request_sets_its_number_of_retries() {
    for (request, attempts) in [
        (plain(), 3),
        (with(Retries(0)), 1),
        (with(Retries(1)), 2),
        (with(Retries(6)), 7),
    ] {
        let (log, recorder) = recording();
        let inner = Scripted::<Asked, u32>::new().otherwise(|| Step::error("no"));
        let calls = inner.calls();
        let retry = RetryLayer::new().max_retries(2).max_retries_by(retries);
        let layers = ServiceBuilder::new().layer(log).layer(retry);
        let service = layers.service(inner.strict());
        service.oneshot(request).await.unwrap_err();
        assert_eq!(calls.count(), attempts);
        let attempts = u32::try_from(attempts).unwrap();
        let reasons = match attempts {
            // Nobody expects to hear of retries that are switched off.
            1 => vec![],
            last => vec![(last, GiveUpReason::Exhausted)],
        };
        assert_eq!(given_up(&recorder), reasons);
    }
}

/// R78 what a policy sees is the call's own number, and a request that is not to be repeated is not
/// cloned.
#[tokio::test(start_paused = true)]
async fn the_policy_sees_the_calls_own_number() {
    use std::sync::{Arc, Mutex};

    use tower_keep::retry::Decision;

    let left = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&left);
    let clones = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&clones);
    let retry = RetryLayer::new()
        .max_retries(0)
        .max_retries_by(retries)
        .clone_with(move |request: &Asked| {
            *counted.lock().unwrap() += 1;
            Some(request.clone())
        })
        .decide_with(move |_: &Result<u32, &'static str>, attempt| {
            seen.lock().unwrap().push(attempt.retries_left());
            Decision::Retry
        });
    let inner = Scripted::<Asked, u32>::new().otherwise(|| Step::error("no"));
    let service = retry.layer(inner);
    service.clone().oneshot(with(Retries(2))).await.unwrap_err();
    assert_eq!(*left.lock().unwrap(), [2, 1, 0]);
    assert_eq!(*clones.lock().unwrap(), 2);
    service.oneshot(plain()).await.unwrap_err();
    assert_eq!(*left.lock().unwrap(), [2, 1, 0, 0]);
    assert_eq!(*clones.lock().unwrap(), 2);
}

/// R78 the settings of a retry come in any order.
#[tokio::test(start_paused = true)]
async fn overrides_of_a_retry_compose() {
    let budget = RetryBudget::default();
    let of_request = budget.clone();
    let retry = RetryLayer::new()
        .max_retries_by(retries)
        .budget_by(move |_: &Asked| Some(of_request.clone()))
        .should_retry(|_: &&str| true)
        .before_attempt(|_: &mut Asked, _| ())
        .max_retries(1);
    let inner = Scripted::<Asked, u32>::new().otherwise(|| Step::error("no"));
    let calls = inner.calls();
    let service = retry.layer(inner);
    service.clone().oneshot(plain()).await.unwrap_err();
    assert_eq!((calls.count(), budget.balance().retries()), (2, 1));
    service.oneshot(with(Retries(2))).await.unwrap_err();
    assert_eq!((calls.count(), budget.balance().retries()), (5, 3));
}

fn key(request: &Asked) -> Option<u32> {
    let bypasses = request.extensions().get::<NoDedup>().is_some();
    (!bypasses).then(|| *request.body())
}

/// R78 a request without a key is on its own, in every mode.
#[tokio::test(start_paused = true)]
async fn a_request_bypasses_dedup() {
    let slow = || Scripted::<Asked, u32>::new().otherwise(|| Step::answer(1).after(secs(5)));
    macro_rules! alone {
        ($layer:expr) => {{
            let inner = slow();
            let calls = inner.calls();
            let mut service = $layer.layer(inner.strict());
            let first = tokio::spawn(begin(&mut service, plain()).await);
            tokio::time::sleep(secs(1)).await;
            let second = tokio::spawn(begin(&mut service, with(NoDedup)).await);
            assert_eq!(first.await.unwrap().unwrap(), 1);
            assert_eq!(second.await.unwrap().unwrap(), 1);
            assert_eq!(calls.gaps(), [secs(1)]);
        }};
    }
    alone!(DedupLayer::new(key));
    alone!(DedupLayer::new(key).join());
    alone!(DedupLayer::new(key).join().cache(secs(60)));
    alone!(DedupLayer::new(key).latest());
    alone!(DedupLayer::new(key).debounce(Duration::ZERO));
}

/// R78 a request without a key neither reads the cache nor writes it.
#[tokio::test(start_paused = true)]
async fn a_bypass_goes_past_the_cache() {
    let inner = Scripted::<Asked, u32>::new().answer(1).answer(2).answer(3);
    let calls = inner.calls();
    let dedup = DedupLayer::new(key).join().cache(secs(60));
    let handle = dedup.handle();
    let service = dedup.layer(inner.strict());
    let ask = |request| service.clone().oneshot(request);
    assert_eq!(ask(with(NoDedup)).await.unwrap(), 1);
    assert_eq!(handle.cached(), 0);
    assert_eq!(ask(plain()).await.unwrap(), 2);
    assert_eq!(ask(with(NoDedup)).await.unwrap(), 3);
    assert_eq!(ask(plain()).await.unwrap(), 2);
    assert_eq!(calls.count(), 3);
}

fn no_cache(request: &Asked) -> bool {
    request.extensions().get::<NoCache>().is_some()
}

/// R78 a request that refreshes is executed, and its result is the cached one from then on; a
/// failure leaves the older one there.
#[tokio::test(start_paused = true)]
async fn a_request_refreshes_the_cache() {
    let inner = Scripted::<Asked, u32>::new()
        .answer(1)
        .step(Step::answer(2).after(secs(5)))
        .error("no");
    let calls = inner.calls();
    let dedup = DedupLayer::new(key)
        .join()
        .cache(secs(60))
        .refresh_if(no_cache)
        .max_entries(10.try_into().unwrap());
    let service = dedup.layer(inner.strict());
    let ask = |request| service.clone().oneshot(request);
    assert_eq!(ask(plain()).await.unwrap(), 1);
    // The others have the older result meanwhile; another that refreshes joins.
    let refreshes = || tokio::spawn(ask(with(NoCache)));
    let (first, second) = (refreshes(), refreshes());
    tokio::time::sleep(secs(1)).await;
    assert_eq!(ask(plain()).await.unwrap(), 1);
    assert_eq!(
        (
            first.await.unwrap().unwrap(),
            second.await.unwrap().unwrap()
        ),
        (2, 2)
    );
    assert_eq!(ask(plain()).await.unwrap(), 2);
    assert_eq!(calls.count(), 2);
    assert_eq!(ask(with(NoCache)).await.unwrap_err().to_string(), "no");
    assert_eq!(ask(plain()).await.unwrap(), 2);
    assert_eq!(calls.count(), 3);
}

/// R78 a stale result too: the call that refreshes waits for the new one, and no renewal runs next
/// to it.
#[tokio::test(start_paused = true)]
async fn a_refresh_of_a_stale_result() {
    let inner = Scripted::<Asked, u32>::new()
        .answer(1)
        .step(Step::answer(2).after(secs(5)));
    let calls = inner.calls();
    let dedup = DedupLayer::new(key)
        .join()
        .cache(secs(60))
        .stale_while_revalidate(secs(600))
        .refresh_if(no_cache);
    let service = dedup.layer(inner.strict());
    let ask = |request| service.clone().oneshot(request);
    assert_eq!(ask(plain()).await.unwrap(), 1);
    tokio::time::sleep(secs(100)).await;
    let refreshed = tokio::spawn(ask(with(NoCache)));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(ask(plain()).await.unwrap(), 1);
    assert_eq!(refreshed.await.unwrap().unwrap(), 2);
    assert_eq!(calls.count(), 2);
}

/// R78 all of it in a pipeline, behind a dispatcher too.
#[tokio::test(start_paused = true)]
async fn in_a_pipeline() {
    let pipeline =
        Pipeline::new()
            .dedup(
                DedupLayer::new(key)
                    .join()
                    .cache(secs(60))
                    .refresh_if(no_cache),
            )
            .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(100))
            .timeout(TimeoutLayer::new(secs(60)).limit_by(patience))
            .retry(RetryLayer::new().max_retries_by(retries).before_attempt(
                |request: &mut Asked, attempt| *request.body_mut() += attempt.number(),
            ))
            .attempt_timeout(
                // By the attempt too, as the hook may write into the request what is read here.
                TimeoutLayer::new(secs(10))
                    .limit_by(|request: &Asked| (*request.body() == 2).then_some(secs(20)))
                    .per_attempt()
                    .named("attempt"),
            )
            .build()
            .unwrap();
    let inner = Scripted::<Asked, u32>::new().never().repeat_last();
    let calls = inner.calls();
    let service = pipeline.layer(inner);

    // 10 s, a wait of 1 s, 20 s.
    let start = Instant::now();
    let error = service.clone().oneshot(with(Retries(1))).await.unwrap_err();
    let elapsed = find::<Elapsed>(&*error).unwrap();
    assert_eq!(
        (elapsed.limit(), elapsed.name()),
        (secs(20), Some("attempt"))
    );
    assert_eq!((calls.count(), start.elapsed()), (2, secs(31)));

    assert_eq!(
        expires(service.clone(), with(Patience(secs(4)))).await,
        secs(4)
    );

    let dispatcher = Dispatcher::new(service);
    let start = Instant::now();
    let error = dispatcher.dispatch(with(Retries(0))).await.unwrap_err();
    assert_eq!(
        find::<Elapsed>(&*error).unwrap().scope(),
        &LimitScope::Attempt
    );
    assert_eq!(start.elapsed(), secs(10));
}

/// R78 of limits that a request may override, a pipeline checks the default.
#[test]
fn a_pipeline_checks_the_defaults() {
    let five = TimeoutLayer::new(secs(5)).limit_by(patience);
    let error = Pipeline::new().timeout(five).build().unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout", "timeout"));

    let retry = RetryLayer::new().max_retries(100).max_retries_by(retries);
    let error = Pipeline::new().retry(retry).build().unwrap_err();
    assert_eq!(error.settings(), ("retry", "timeout"));

    let steps = TimeoutLayer::new(secs(60))
        .step_limit(secs(30))
        .step_limit_by(patience);
    let error = Pipeline::new().timeout(steps).build().unwrap_err();
    assert_eq!(error.settings(), ("step_limit", "attempt_timeout"));

    let overall = TimeoutLayer::none().limit_by(patience);
    Pipeline::new().timeout(overall).build().unwrap();
}
