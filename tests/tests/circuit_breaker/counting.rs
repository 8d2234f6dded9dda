//! What a circuit counts, which job gets its events, and how many probes it lets through.

use std::time::Duration;

use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Job, Outcome, TimeoutLayer, circuit_breaker::State,
    find, timeout::Elapsed,
};
use tower_keep_test::{Polled, Scripted, Step, secs};
use tower_keep_tests::*;

/// A client's circuit that opens because the server job around the client call timed out is the
/// client job's affair: the server's job gets no event of a circuit that is not in its stack.
#[tokio::test(start_paused = true)]
async fn a_circuit_sends_events_to_no_other_job() {
    let (client_log, client_recorder) = recording();
    let breaker = CircuitBreakerLayer::new().failure_threshold(0);
    let client = ServiceBuilder::new()
        .layer(client_log)
        .layer(breaker)
        .service(Scripted::<u32, u32, BoxError>::new().never());
    let (server_log, server_recorder) = recording();
    let server = ServiceBuilder::new()
        .layer(server_log)
        .layer(TimeoutLayer::new(ms(10)))
        .service(service_fn(move |request| client.clone().oneshot(request)));
    server.oneshot(0).await.unwrap_err();
    assert_eq!(server_recorder.count("circuit_opened"), 0);
    server_recorder.assert_one_terminal_each();
    client_recorder.assert_one_terminal_each();
}

/// A circuit with a classifier of its own counts by it, whatever the log inside it thinks of the
/// response.
#[tokio::test(start_paused = true)]
async fn a_circuits_own_classifier_decides() {
    let breaker = CircuitBreakerLayer::new().classify(|_: &Result<u32, BoxError>| Outcome::Success);
    let handle = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(breaker)
        .layer(quiet().classify(|_: &Result<u32, BoxError>| Outcome::Failure))
        .service(Scripted::<u32, u32, BoxError>::new().answer(1));
    service.oneshot(0).await.unwrap();
    assert_eq!(handle.snapshot().failures_in_a_row, 0);
}

/// A probe that is cancelled and comes to an end within its grace period proves nothing: the
/// circuit stays half-open.
#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_does_not_close_the_circuit() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .cooldown(ms(10));
    let circuit = breaker.handle();
    let cancel = CancelLayer::new().grace(secs(5));
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32, BoxError>::new()
        .error("no".into())
        .step(Step::run(async |_| {
            Job::current().cancelled().await;
            Ok(0)
        }));
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(breaker)
        .service(inner);
    service.clone().oneshot(0).await.unwrap_err();
    tokio::time::sleep(ms(20)).await;
    let probe = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(ms(1)).await;
    assert!(handle.cancel(handle.jobs()[0].job));
    probe.await.unwrap().unwrap_err();
    assert_eq!(circuit.state(), State::HalfOpen);
}

/// With a cooldown of zero a circuit still lets one probe through at a time.
#[tokio::test(start_paused = true)]
async fn no_cooldown_does_not_mean_any_number_of_probes() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .cooldown(Duration::ZERO);
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer_after(ms(100), 1);
    let calls = inner.calls();
    let service = breaker.layer(inner);
    service.clone().oneshot(0).await.unwrap_err();
    let mut probe = Polled::new(service.clone().oneshot(0));
    probe.assert_waiting();
    Polled::new(service.oneshot(0)).assert_ready().unwrap_err();
    assert_eq!(calls.count(), 2);
    assert_eq!(probe.await.unwrap(), 1);
}

/// R59: a circuit inside a limit or outside counts that the limit expired, whatever the work
/// returns in its grace period.
#[tokio::test(start_paused = true)]
async fn a_circuit_counts_a_limit_with_grace() {
    for (inside, per_attempt) in [(false, false), (false, true), (true, false), (true, true)] {
        for (ignores, answers) in [(false, true), (false, false), (true, true), (true, false)] {
            let limit = if per_attempt {
                TimeoutLayer::new(secs(1)).per_attempt()
            } else {
                TimeoutLayer::new(secs(1))
            };
            let breaker = CircuitBreakerLayer::new();
            let breaker = if ignores {
                breaker.ignore_timeouts()
            } else {
                breaker
            };
            let handle = breaker.handle();
            let inner = code(move |job, _| async move {
                job.cancelled().await;
                if answers {
                    Ok(1)
                } else {
                    Err("stopped".into())
                }
            });
            let limit = limit.grace(secs(5));
            let service = if inside {
                Stack::new(limit.layer(breaker.layer(inner)))
            } else {
                Stack::new(breaker.layer(limit.layer(inner)))
            };
            let error = service.oneshot(0).await.unwrap_err();
            assert!(find::<Elapsed>(&*error).is_some());
            // Only an overall limit can be ignored.
            let expected = u32::from(per_attempt || !ignores);
            assert_eq!(
                handle.snapshot().failures_in_a_row,
                expected,
                "{inside} {per_attempt} {ignores} {answers}"
            );
        }
    }
}
