//! A rejection names the failure that opened the circuit.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU32,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::FutureExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Classify, Outcome, Ratio, TimeoutLayer,
    circuit_breaker::{CircuitBreakerHandle, Open, State},
    find,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn failing() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().named("db").failure_threshold(0)
}

/// The rejection of the next call.
async fn rejection<S>(service: &mut S) -> Open
where
    S: Service<u32, Response = u32, Error = BoxError>,
{
    let error = begin(service, 0).await.await.unwrap_err();
    find::<Open>(&*error).expect("it is rejected").clone()
}

/// An error that counts how often it is shown.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<AtomicUsize>);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fetch_add(1, Ordering::Relaxed);
        f.write_str("refused by https://me:secret@db/?token=1")
    }
}

impl std::error::Error for Counted {}

/// R72 A rejection carries the text of the error that opened the circuit, at the end of its own.
#[tokio::test(start_paused = true)]
async fn a_rejection_names_the_error_that_opened() {
    let breaker = failing();
    let handle = breaker.handle();
    assert_eq!(handle.snapshot().cause, None);
    let inner = Scripted::<u32, u32>::new()
        .error("refused by https://me:secret@db/?token=1")
        .error_after(secs(1), "refused again")
        .answer(1);
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    let open = rejection(&mut service).await;
    assert_eq!(open.cause(), Some("refused by https://db/"));
    assert_eq!(
        open.to_string(),
        "circuit \"db\" is open for another 30s: refused by https://db/"
    );
    assert_eq!(handle.snapshot().cause.as_deref(), open.cause());

    // While a probe is under way, the others learn why there is one.
    tokio::time::sleep(secs(30)).await;
    let probe = begin(&mut service, 0).await;
    let half_open = rejection(&mut service).await;
    assert_eq!(handle.state(), State::HalfOpen);
    assert_eq!(half_open.cause(), Some("refused by https://db/"));

    // The failure of the probe takes the place of the first one, and stays known after the circuit
    // has closed.
    probe.await.unwrap_err();
    assert_eq!(rejection(&mut service).await.cause(), Some("refused again"));
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.snapshot().cause.as_deref(), Some("refused again"));
    handle.reset();
    assert_eq!(handle.snapshot().cause, None);
}

/// R72 A circuit that was opened by hand has no cause, also where a failure opened it before.
#[tokio::test(start_paused = true)]
async fn a_forced_circuit_has_no_cause() {
    let breaker = failing();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().error("no");
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    let forces: [fn(&CircuitBreakerHandle); 2] = [CircuitBreakerHandle::force_open, |handle| {
        handle.force_open_for(secs(9));
    }];
    for force in forces {
        force(&handle);
        let open = rejection(&mut service).await;
        assert_eq!(open.cause(), None);
        assert_eq!(handle.snapshot().cause, None);
        assert_eq!(open, Open::new("db", open.remaining()));
        assert_ne!(open, open.clone().with_cause("no"));
    }
}

/// R72 An error is shown once, when it opens the circuit; a closed circuit looks at no error.
#[tokio::test(start_paused = true)]
async fn only_the_failure_that_opens_is_described() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(3)
        .fail_with(|_| Counted::default());
    let handle = breaker.handle();
    let error = Counted::default();
    let shown = Arc::clone(&error.0);
    let mut service = breaker.layer(tower::service_fn(move |_: u32| {
        let error = error.clone();
        async move { Err::<u32, _>(error) }
    }));
    for expected in [0, 0, 0, 1] {
        begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(shown.load(Ordering::Relaxed), expected);
    }
    let cause = handle.snapshot().cause;
    assert_eq!(cause.as_deref(), Some("refused by https://db/"));
}

/// Fails numbers from 500 on, and says so.
#[derive(Clone, Copy)]
struct ByStatus(fn(u32) -> Option<Cow<'static, str>>);

impl<E> Classify<u32, E> for ByStatus {
    fn classify(&self, result: &Result<u32, E>) -> Outcome {
        match result {
            Ok(status) if *status < 500 => Outcome::Success,
            _ => Outcome::Failure,
        }
    }

    fn describe(&self, result: &Result<u32, E>) -> Option<Cow<'static, str>> {
        result.as_ref().ok().and_then(|status| (self.0)(*status))
    }
}

/// R72 The classifier describes the response; a general sentence stands for silence or a panic.
#[tokio::test(start_paused = true)]
async fn the_classifier_describes_a_response() {
    let general = "the response is classified as a failure";
    let says: fn(u32) -> _ = |status| Some(format!("the server answered {status}").into());
    for (describe, expected) in [
        (ByStatus(says), "the server answered 503"),
        (ByStatus(|_| None), general),
        (ByStatus(|_| panic!("no words")), general),
        (ByStatus(|_| Some("".into())), "a call failed"),
    ] {
        let breaker = failing().classify::<_, u32, &str>(describe);
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new().answer(503);
        let mut service = breaker.layer(inner.strict());
        assert_eq!(begin(&mut service, 0).await.await.unwrap(), 503);
        let open = rejection(&mut service).await;
        assert_eq!(open.cause(), Some(expected));
        assert_eq!(handle.state(), State::Open);
    }
    // Through `retry_after` too; of an error that the classifier does not describe, the text is the
    // error's.
    for (step, expected) in [
        (Step::error("refused"), "refused"),
        (Step::answer(503), "the server answered 503"),
    ] {
        let breaker = failing()
            .classify::<_, u32, &str>(ByStatus(says))
            .retry_after(|_: &Result<u32, &str>| None);
        let inner = Scripted::<u32, u32>::new().step(step);
        let mut service = breaker.layer(inner.strict());
        let _ = begin(&mut service, 0).await.await;
        assert_eq!(rejection(&mut service).await.cause(), Some(expected));
    }
}

/// R72 A slow call says how slow it was, also as a probe; a share of the calls says how many.
#[tokio::test(start_paused = true)]
async fn slowness_is_a_cause() {
    let breaker = CircuitBreakerLayer::new()
        .slow_call_rate(Ratio::ALL)
        .slow_call_duration(secs(2))
        .minimum_calls(number(1));
    let inner = Scripted::<u32, u32>::new()
        .answer_after(ms(2500), 1)
        .answer_after(secs(3), 1);
    let mut service = breaker.layer(inner.strict());
    for expected in [
        "a slow call took 2.5s (limit: 2s)",
        "a slow call took 3s (limit: 2s)",
    ] {
        begin(&mut service, 0).await.await.unwrap();
        assert_eq!(rejection(&mut service).await.cause(), Some(expected));
        tokio::time::sleep(secs(30)).await;
    }

    // A success can complete the number of calls that a rate asks for.
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(Ratio::HALF)
        .minimum_calls(number(4));
    let inner = Scripted::<u32, u32>::new()
        .times(2, || Step::error("no"))
        .times(2, || Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    for _ in 0..4 {
        let _ = begin(&mut service, 0).await.await;
    }
    let open = rejection(&mut service).await;
    assert_eq!(open.cause(), Some("2 of 4 calls failed"));
}

/// R72 A time limit, a panic, a dropped call and probes that hang say so.
#[tokio::test(start_paused = true)]
async fn calls_without_a_result_have_a_cause() {
    let timeouts = [
        (TimeoutLayer::new(secs(1)), "the overall time limit expired"),
        (
            TimeoutLayer::new(secs(1)).per_attempt(),
            "the time limit of the attempt expired",
        ),
    ];
    for (timeout, expected) in timeouts {
        for outside in [true, false] {
            let breaker = failing();
            let handle = breaker.handle();
            let inner = Scripted::<u32, u32>::new().never();
            let error = if outside {
                let layers = ServiceBuilder::new().layer(timeout.clone()).layer(breaker);
                layers.service(inner.strict()).oneshot(0).await
            } else {
                let layers = ServiceBuilder::new().layer(breaker).layer(timeout.clone());
                layers.service(inner.strict()).oneshot(0).await
            };
            error.unwrap_err();
            assert_eq!(handle.snapshot().cause.as_deref(), Some(expected));
        }
    }

    for step in [Step::panic("oh"), Step::panic_in_call("oh")] {
        let mut service = failing().layer(Scripted::<u32, u32>::new().step(step).strict());
        let call = AssertUnwindSafe(async { begin(&mut service, 0).await.await });
        call.catch_unwind().await.unwrap_err();
        let open = rejection(&mut service).await;
        assert_eq!(open.cause(), Some("a call panicked"));
    }

    let breaker = failing()
        .count_dropped()
        .probe_timeout(secs(1))
        .cooldown(secs(9));
    let mut service = breaker.layer(Scripted::<u32, u32>::new().otherwise(Step::never).strict());
    let call = begin(&mut service, 0).await;
    assert!(call.now_or_never().is_none());
    let open = rejection(&mut service).await;
    assert_eq!(open.cause(), Some("the caller dropped a call"));
    tokio::time::sleep(secs(9)).await;
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(begin(&mut service, 0).await);
        tokio::time::sleep(secs(1)).await;
    }
    let open = rejection(&mut service).await;
    assert_eq!(open.cause(), Some("the probes timed out"));
}

/// R72 The circuit opens at once even if the code that makes the error panics.
#[tokio::test(start_paused = true)]
async fn a_panic_while_the_error_is_made_opens() {
    #[derive(Debug)]
    struct Own;
    impl fmt::Display for Own {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no text")
        }
    }
    struct Inner(bool);
    impl From<Inner> for Own {
        fn from(inner: Inner) -> Self {
            assert!(inner.0, "no error");
            Self
        }
    }
    for (passes, expected) in [
        (true, "a call failed"),
        (
            false,
            "a call failed, and the conversion of its error panicked",
        ),
    ] {
        let breaker = failing().fail_with(|_| Own);
        let handle = breaker.handle();
        let mut service = breaker.layer(tower::service_fn(move |_: u32| async move {
            Err::<u32, _>(Inner(passes))
        }));
        let mut call = Box::pin(begin(&mut service, 0).await);
        let ended = AssertUnwindSafe(&mut call).catch_unwind().await;
        assert_eq!(ended.is_ok(), passes);
        // The future that panicked has not been dropped yet.
        let snapshot = handle.snapshot();
        assert_eq!(snapshot.state, State::Open);
        assert_eq!(snapshot.cause.as_deref(), Some(expected));
        drop(call);
        assert_eq!(handle.snapshot().opened, 1);
    }
}
