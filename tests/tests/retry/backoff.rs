//! When a retry comes.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, Classify, Outcome, Pipeline, RetryLayer,
    retry::{Backoff, BackoffStrategy, Jitter, RetryBudget},
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

/// The waits of one call, all of whose attempts fail at once.
async fn waits<P, X>(retry: RetryLayer<P, X>) -> Vec<Duration>
where
    RetryLayer<P, X>: Layer<Scripted<u32, u32>>,
    <RetryLayer<P, X> as Layer<Scripted<u32, u32>>>::Service:
        Service<u32, Response = u32, Error = &'static str>,
{
    let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
    let calls = inner.calls();
    retry.layer(inner).oneshot(0).await.unwrap_err();
    calls.gaps()
}

/// A budget that is never empty.
fn unlimited() -> RetryBudget {
    RetryBudget::default().floor(u32::MAX)
}

/// R23, R25b: the backoffs, each with its base and its cap.
#[tokio::test(start_paused = true)]
async fn strategies() {
    struct Fibonacci;
    impl BackoffStrategy for Fibonacci {
        fn delay(&self, retry: u32, base: Duration, _: Option<Duration>) -> Duration {
            let (mut delay, mut next) = (base, base);
            for _ in 0..retry {
                (delay, next) = (next, delay.saturating_add(next));
            }
            delay
        }
    }
    let table = [
        (RetryLayer::new(), [1, 2, 4, 8, 16, 30]),
        (
            RetryLayer::new().base_delay(secs(3)),
            [3, 6, 12, 24, 30, 30],
        ),
        (
            RetryLayer::new().backoff(Backoff::constant(secs(2))),
            [2, 2, 2, 2, 2, 2],
        ),
        (
            RetryLayer::new()
                .backoff(Backoff::linear(secs(2)))
                .max_delay(secs(9)),
            [2, 4, 6, 8, 9, 9],
        ),
        (
            RetryLayer::new().backoff(Backoff::custom(|n: u32| secs(10 - u64::from(n)))),
            [10, 9, 8, 7, 6, 5],
        ),
        (
            RetryLayer::new()
                .backoff(Backoff::custom(Fibonacci))
                .max_delay(secs(8))
                .base_delay(secs(2)),
            [2, 2, 4, 6, 8, 8],
        ),
    ];
    for (retry, expected) in table {
        let total = retry.clone().max_retries(6).total_delay();
        let waits = waits(retry.max_retries(6)).await;
        assert_eq!(waits, expected.map(secs));
        assert_eq!(total, waits.iter().sum::<Duration>());
    }
}

/// R25b: jitter is injectable: the same seed gives the same waits to the same calls, and each call
/// has its own. Without a seed no two layers are alike. (Waits are of whole milliseconds on tokio's
/// clock.)
#[tokio::test(start_paused = true)]
async fn jitter_is_seeded_per_call() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let seeded = |seed| RetryLayer::new().jitter(jitter).seed(seed);
        let (one, other) = (seeded(1), seeded(1));
        let (first, second) = (waits(one.clone()).await, waits(one).await);
        assert_ne!(first, second, "{jitter:?}");
        assert_eq!(waits(other.clone()).await, first);
        assert_eq!(waits(other).await, second);
        assert_ne!(waits(seeded(2)).await, first);
        let unseeded = || waits(RetryLayer::new().jitter(jitter));
        assert_ne!(unseeded().await, unseeded().await);
    }
    assert_eq!(
        waits(RetryLayer::new().seed(1)).await,
        [secs(1), secs(2), secs(4)]
    );
}

/// Behaviour 21: the jittered waits of very many retries stay within the cap.
#[tokio::test(start_paused = true)]
async fn jitter_never_passes_the_cap() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let retry = RetryLayer::new()
            .jitter(jitter)
            .max_delay(secs(2))
            .max_retries(300);
        let waits = waits(retry).await;
        assert_eq!(waits.len(), 300);
        // A timer may fire up to 1 ms late.
        assert!(waits.iter().all(|wait| *wait <= secs(2) + ms(1)));
        assert!(waits.iter().any(|wait| *wait > secs(1)));
    }
}

/// Behaviour 21: 200 clients whose first attempts fail together do not come back together, with
/// either preset: no 5 ms hold more than a fifth of them.
#[tokio::test(start_paused = true)]
async fn presets_spread_the_clients() {
    for preset in [RetryLayer::for_clients(), RetryLayer::for_background()] {
        let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
        let calls = inner.calls();
        let service = preset.budget(unlimited()).seed(1).layer(inner);
        let clients: Vec<_> = (0..200)
            .map(|_| tokio::spawn(service.clone().oneshot(0)))
            .collect();
        for client in clients {
            client.await.unwrap().unwrap_err();
        }
        let mut bins = BTreeMap::<_, u32>::new();
        for at in &calls.started_at()[200..] {
            *bins.entry(at.as_millis() / 5).or_default() += 1;
        }
        let fullest = bins.values().max().unwrap();
        assert!(*fullest <= 40, "{fullest} of 200 in 5 ms");
    }
}

/// R25b: a strategy that the jitter would leave nothing of is refused, whichever is set first. The
/// background preset has such a jitter: a strategy of the user's own needs another.
#[test]
fn decorrelated_jitter_refuses_other_strategies() {
    fn refuses(set: impl FnOnce() -> RetryLayer) {
        let panic = catch_unwind(AssertUnwindSafe(set)).unwrap_err();
        let message = panic.downcast_ref::<&str>().expect("a text");
        assert!(message.starts_with("Jitter::Decorrelated takes the place"));
    }
    let strategies = [
        Backoff::constant(secs(5)),
        Backoff::linear(secs(5)),
        Backoff::custom(|_: u32| secs(5)),
    ];
    for strategy in strategies {
        let preset = strategy.clone();
        refuses(move || RetryLayer::for_background().backoff(preset));
        let plain = RetryLayer::new().backoff(strategy.clone());
        refuses(move || plain.jitter(Jitter::Decorrelated));
        let retry = RetryLayer::for_background().jitter(Jitter::None);
        let total = retry.backoff(strategy).max_retries(1).total_delay();
        assert_eq!(total, secs(5));
    }
    let walk = RetryLayer::for_background().backoff(Backoff::exponential(secs(2)));
    assert_eq!(walk.max_retries(1).total_delay(), secs(6));
}

/// The presets are capped, and no call goes on for longer than their documentation says.
#[tokio::test(start_paused = true)]
async fn presets_are_capped() {
    assert_eq!(RetryLayer::for_clients().total_delay(), ms(700));
    let background = RetryLayer::for_background().total_delay();
    assert_eq!(background, secs(3 + 9 + 27 + 5 * 60));
    for (preset, cap) in [
        (RetryLayer::for_clients(), secs(20)),
        (RetryLayer::for_background(), secs(60)),
    ] {
        let start = Instant::now();
        let total = preset.total_delay();
        waits(preset.clone()).await;
        assert!(start.elapsed() <= total + ms(10));
        let many = waits(preset.budget(unlimited()).max_retries(40)).await;
        assert!(many.iter().all(|wait| *wait <= cap + ms(1)));
    }
}

/// The pipeline's check reckons with the longest that jitter can make the waits.
#[test]
fn the_pipeline_reckons_with_the_longest_waits() {
    let fits = |retry| Pipeline::new().retry(retry).build().is_ok();
    assert!(fits(RetryLayer::for_clients()));
    assert!(fits(RetryLayer::new().backoff(Backoff::constant(secs(19)))));
    assert!(!fits(
        RetryLayer::new().backoff(Backoff::constant(secs(20)))
    ));
    // 3, 9 and 27 s at most, against 60 s.
    assert!(fits(RetryLayer::new().jitter(Jitter::Decorrelated)));
    assert!(!fits(
        RetryLayer::new()
            .jitter(Jitter::Decorrelated)
            .base_delay(secs(3))
    ));
}

/// R25b, behaviour 22: a delay that the outcome asks for takes the backoff's place, clamped: by a
/// classifier that knows it, or by a closure next to any policy.
#[tokio::test(start_paused = true)]
async fn a_delay_from_the_outcome() {
    #[derive(Clone)]
    struct Busy;
    impl Classify<u32, &'static str> for Busy {
        fn classify(&self, result: &Result<u32, &'static str>) -> Outcome {
            match result {
                Ok(503) | Err(_) => Outcome::Failure,
                Ok(_) => Outcome::Success,
            }
        }

        fn retry_after(&self, result: &Result<u32, &'static str>) -> Option<Duration> {
            (*result == Ok(503)).then_some(secs(7))
        }
    }
    let script = || {
        Scripted::<u32, u32>::new()
            .error("no")
            .answer(503)
            .error("no")
            .answer(1)
    };
    let inner = script();
    let calls = inner.calls();
    let service = RetryLayer::new().classify(Busy).layer(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    // The backoff goes by the retry's number, not by how often it was asked.
    assert_eq!(calls.gaps(), [secs(1), secs(7), secs(4)]);

    let inner = script();
    let calls = inner.calls();
    let retry = RetryLayer::new()
        .classify(Busy)
        .retry_after(|result: &Result<u32, &str>| result.is_err().then_some(secs(31)));
    let service = retry.layer(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    // The closure comes first, then the classifier's own hint.
    assert_eq!(calls.gaps(), [secs(31), secs(7), secs(31)]);

    // Next to `should_retry`, and not asked where that says no.
    let inner = Scripted::<u32, u32>::new().error("busy").error("final");
    let calls = inner.calls();
    let retry = RetryLayer::new()
        .should_retry(|error| *error == "busy")
        .retry_after(|result: &Result<u32, &str>| {
            assert_eq!(*result, Err("busy"));
            Some(ms(20))
        });
    assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Err("final"));
    assert_eq!(calls.gaps(), [ms(20)]);
}

/// Behaviour 20: a request of reqwest's, which is not `Clone`, by the bare path of its own method.
/// One with a stream for a body cannot be repeated, and is tried once.
#[tokio::test(start_paused = true)]
async fn requests_of_reqwest() {
    use reqwest::{Body, Method, Request};
    let request = |body: Option<Body>| {
        let mut request = Request::new(Method::PUT, "http://example.test/".parse().unwrap());
        *request.body_mut() = body;
        request
    };
    let stream = Body::wrap_stream(futures::stream::iter([Ok::<_, BoxError>("a")]));
    for (request, attempts) in [
        (request(None), 4),
        (request(Some("text".into())), 4),
        (request(Some(stream)), 1),
    ] {
        let inner = Scripted::<Request, u32>::new().error("no").repeat_last();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new().clone_with(Request::try_clone))
            .service(inner.strict());
        assert_eq!(service.oneshot(request).await, Err("no"));
        assert_eq!(calls.count(), attempts);
    }
}

/// R25b The cap and the jitter of the layer hold for its backoff, in whichever order they are set.
#[tokio::test(start_paused = true)]
async fn a_backoff_keeps_the_cap_and_the_jitter() {
    let backoff = || Backoff::linear(secs(2));
    let layers = [
        RetryLayer::new().backoff(backoff()).max_delay(secs(5)),
        RetryLayer::new().max_delay(secs(5)).backoff(backoff()),
    ];
    for layer in layers {
        assert_eq!(waits(layer).await, [secs(2), secs(4), secs(5)]);
    }
    let jittered = [
        RetryLayer::new().backoff(backoff()).jitter(Jitter::Full),
        RetryLayer::new().jitter(Jitter::Full).backoff(backoff()),
    ];
    let jittered = jittered.map(|layer| waits(layer.seed(7)));
    let [after, before] = futures::future::join_all(jittered)
        .await
        .try_into()
        .unwrap();
    assert_eq!(after, before);
    assert!(
        after.iter().all(|wait| wait.as_millis() % 1000 != 0),
        "{after:?}"
    );
}

/// R25b A backoff whose base is longer than the cap that was set is refused where it is set.
#[test]
#[should_panic(expected = "max_delay is shorter than base_delay")]
fn a_backoff_beyond_the_cap_is_refused() {
    let _ = RetryLayer::new()
        .max_delay(secs(5))
        .backoff(Backoff::constant(secs(6)));
}

/// R25b The preset's budget leaves a client with few calls their retries: ten calls outlast a short
/// outage together.
#[tokio::test(start_paused = true)]
async fn the_preset_for_clients_serves_few_calls() {
    let up = Instant::now() + ms(100);
    let service = service_fn(move |request: u32| async move {
        let is_up = Instant::now() >= up;
        is_up.then_some(request).ok_or("down")
    });
    let service = RetryLayer::for_clients().seed(1).layer(service);
    let calls: Vec<_> = (0..10)
        .map(|n| tokio::spawn(service.clone().oneshot(n)))
        .collect();
    for (n, call) in (0..10).zip(calls) {
        assert_eq!(call.await.unwrap(), Ok(n));
    }
}

/// R25b The preset for clients bounds the retries of a service where everything fails: by 20 %, in
/// one call.
#[tokio::test(start_paused = true)]
async fn the_preset_for_clients_has_a_budget() {
    let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
    let calls = inner.calls();
    let preset = RetryLayer::for_clients();
    let service = preset.layer(inner);
    for _ in 0..200 {
        service.clone().oneshot(0).await.unwrap_err();
    }
    // All within one window of 10 s: 40 retries, rather than 600.
    assert_eq!(calls.count(), 240);
    // Each call of the preset makes a budget of its own; clones share it.
    let other = Scripted::<u32, u32>::new().error("no").repeat_last();
    let calls = other.calls();
    preset
        .clone()
        .layer(other.clone())
        .oneshot(0)
        .await
        .unwrap_err();
    assert_eq!(calls.count(), 1);
    RetryLayer::for_clients()
        .layer(other)
        .oneshot(0)
        .await
        .unwrap_err();
    assert_eq!(calls.count(), 5);
}
