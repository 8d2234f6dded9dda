//! One end for each attempt, in whatever stack.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    AttemptOutcome::{Cancelled, Failed, Succeeded},
    BoxError, CancelLayer, DedupLayer,
    FailureCause::{Error, TimedOut},
    LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

use super::attempts::ended;

type Inner = Scripted<u32, u32, BoxError>;

/// R78 Retries inside each other have the service's attempts in common: each ends once.
#[tokio::test(start_paused = true)]
async fn nested_retries() {
    let (log, recorder) = recording();
    let inner = Inner::new()
        .error_after(secs(1), "1".into())
        .error_after(secs(2), "2".into())
        .error_after(secs(3), "3".into())
        .answer_after(secs(4), 4);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1))
        .layer(RetryLayer::new().max_retries(1))
        .service(inner);
    service.oneshot(1).await.unwrap();
    assert_eq!(calls.count(), 4);
    let took: Vec<_> = ended(&recorder)
        .into_iter()
        .map(|(_, took, outcome)| (took, outcome))
        .collect();
    assert_eq!(
        took,
        [
            (secs(1), Failed(Error)),
            (secs(2), Failed(Error)),
            (secs(3), Failed(Error)),
            (secs(4), Succeeded)
        ]
    );
    recorder.assert_one_terminal_each();

    // A limit around the inner retry: in an attempt, and in a wait of that.
    for (limit, expected) in [
        (2, vec![(secs(1), Failed(Error)), (secs(1), Succeeded)]),
        (
            4,
            vec![
                (secs(1), Failed(Error)),
                (secs(1), Failed(TimedOut)),
                (secs(1), Succeeded),
            ],
        ),
    ] {
        let (log, recorder) = recording();
        let inner = Inner::new().error_after(secs(1), "1".into());
        let inner = match limit {
            4 => inner.never(),
            _ => inner,
        };
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().max_retries(1))
            .layer(TimeoutLayer::new(secs(limit)).per_attempt())
            .layer(RetryLayer::new().max_retries(1).base_delay(secs(2)))
            .service(inner.answer_after(secs(1), 4));
        service.oneshot(1).await.unwrap();
        let took: Vec<_> = ended(&recorder)
            .into_iter()
            .map(|(_, took, outcome)| (took, outcome))
            .collect();
        assert_eq!(took, expected, "{limit}");
    }
}

/// R78 The execution that callers share belongs to the job that began it: only that has attempts,
/// until its caller leaves.
#[tokio::test(start_paused = true)]
async fn a_shared_execution() {
    for leaves in [false, true] {
        let (log, recorder) = recording();
        let inner = Inner::new()
            .error_after(secs(2), "busy".into())
            .answer_after(secs(3), 7);
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new())
            .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
            .layer(RetryLayer::new())
            .service(inner);
        let first = tokio::spawn(begin(&mut service, 1).await);
        let second = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(ms(3500)).await;
        let [leader, follower] = recorder.jobs()[..] else {
            panic!("two jobs")
        };
        if leaves {
            first.abort();
        }
        assert_eq!(second.await.unwrap().unwrap(), 7);
        let _left = first.await;
        let last = match leaves {
            true => (2, ms(500), Cancelled),
            false => (2, secs(3), Succeeded),
        };
        assert_eq!(ended(&recorder), [(1, secs(2), Failed(Error)), last]);
        assert!(!recorder.names_of(follower).contains(&"attempt_ended"));
        recorder.assert_one_terminal_each();
        assert!(recorder.terminal(leader).is_some());
    }
}

/// R78 A foreign retry around a part of the stack calls that again: each call of our Retry layer
/// has its attempts.
#[tokio::test(start_paused = true)]
async fn a_foreign_retry() {
    #[derive(Clone)]
    struct Once;

    impl tower::retry::Policy<u32, u32, BoxError> for Once {
        type Future = std::future::Ready<()>;

        fn retry(
            &mut self,
            _: &mut u32,
            result: &mut Result<u32, BoxError>,
        ) -> Option<Self::Future> {
            result.is_err().then(|| std::future::ready(()))
        }

        fn clone_request(&mut self, request: &u32) -> Option<u32> {
            Some(*request)
        }
    }

    let (log, recorder) = recording();
    let inner = Inner::new()
        .error_after(secs(1), "1".into())
        .answer_after(secs(2), 2);
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(tower::retry::RetryLayer::new(Once))
        .layer(ProgressLayer::new())
        .layer(RetryLayer::new().max_retries(0))
        .service(inner);
    assert_eq!(service.oneshot(1).await.unwrap(), 2);
    assert_eq!(
        ended(&recorder),
        [(1, secs(1), Failed(Error)), (1, secs(2), Succeeded)]
    );
    recorder.assert_one_terminal_each();
}

/// R78 A subscriber that comes in the middle of an attempt hears of its end, with all of its time.
#[tokio::test(start_paused = true)]
async fn a_late_subscriber() {
    let inner = Inner::new()
        .error_after(secs(2), "busy".into())
        .answer_after(secs(3), 7);
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(RetryLayer::new())
        .service(inner);
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(ms(3500)).await;
    let (lines, _guard) = Lines::listen();
    call.await.unwrap().unwrap();
    assert_eq!(lines.records(), ["DEBUG attempt ended", "INFO succeeded"]);
    let fields = &lines.fields()[0];
    for field in ["took_ms=3000", "outcome=\"succeeded\"", "attempt=2"] {
        assert!(fields.contains(field), "{field} in {fields}");
    }
}

/// R78 Each call of the service that begins has one end, whatever the service does, and whenever
/// the caller leaves.
#[tokio::test(start_paused = true)]
async fn as_many_ends_as_calls() {
    let mut random = fastrand::Rng::with_seed(78);
    for round in 0..300 {
        let (log, recorder) = recording();
        let mut inner = Inner::new();
        for _ in 0..12 {
            let step = match random.u32(0..5) {
                0 => Step::answer(1),
                1 => Step::never(),
                2 if random.bool() => Step::panic("ouch"),
                _ => Step::error("no".into()),
            };
            inner = inner.step(step.after(ms(random.u64(0..3000))));
        }
        let calls = inner.calls();
        let per_attempt = TimeoutLayer::new(ms(random.u64(1..4000))).per_attempt();
        let overall = TimeoutLayer::new(ms(random.u64(1..20_000)));
        let retry = || RetryLayer::new().max_retries(2).base_delay(ms(500));
        let (grace, outer) = (random.bool(), random.bool());
        let overall = if grace {
            overall.grace(secs(1))
        } else {
            overall
        };
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new())
            .layer(overall)
            .option_layer(outer.then(retry))
            .layer(retry())
            .layer(per_attempt)
            .service(inner);
        let call = tokio::spawn(service.oneshot(1));
        tokio::time::sleep(ms(random.u64(1..15_000))).await;
        call.abort();
        let _result = call.await;
        recorder.assert_one_terminal_each();
        let ends = ended(&recorder);
        assert_eq!(ends.len(), calls.count(), "round {round}: {recorder}");
        let total: std::time::Duration = ends.iter().map(|(_, took, _)| *took).sum();
        let last = recorder.events().pop().unwrap();
        assert!(total <= last.elapsed, "round {round}: {recorder}");
        for names in recorder.names().windows(2) {
            // Each comes before what follows from it.
            let follows = ["retry_scheduled", "retry_given_up"].contains(&names[1]);
            let before = ["attempt_ended", "retry_given_up"].contains(&names[0]);
            assert!(!follows || before, "round {round}: {recorder}");
        }
    }
}
