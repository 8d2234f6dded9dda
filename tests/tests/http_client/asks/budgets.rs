//! Budgets, and what they count: asks 9, 10, 13, 14 and 20.

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, EventKind, GiveUpReason, LogLayer, Ratio, RetryLayer, TimeoutLayer,
    retry::{Decision, Jitter, RetryBudget},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, get, in_memory};

fn unavailable() -> Origin {
    Origin::in_memory().then(Reply::status(503)).repeat_last()
}

fn to(host: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://{host}/page"))
        .body(Full::default())
        .unwrap()
}

fn exact(percent: u32, floor: u32) -> RetryBudget {
    RetryBudget::new(Ratio::percent(percent).unwrap()).floor(floor)
}

/// The number of requests of this host.
fn count(origin: &Origin, host: &str) -> usize {
    let of_host = |request: &&_| tower_keep_test::http::Received::authority(request) == Some(host);
    origin.received().iter().filter(of_host).count()
}

/// R25b R80 Ask 9: the ready-made layer has a bucket of tokens: a server that fails each request
/// gets a fifth more of them, not four times as many.
#[tokio::test(start_paused = true)]
async fn the_ready_made_layer_has_a_budget() {
    for version in VERSIONS {
        let origin = unavailable();
        let api = RetryLayer::http().layer(in_memory(&origin, version));
        for _ in 0..500 {
            api.clone().oneshot(get(&origin)).await.unwrap();
        }
        let sent = arrivals(&origin, version).len();
        // The floor of 30 is for clients with few calls.
        assert!((501..=600).contains(&sent), "{sent}");
    }
}

/// R25b Ask 10: the readers and the writers of a storage client share a budget, which they can read.
#[tokio::test(start_paused = true)]
async fn two_clients_share_a_budget() {
    for version in VERSIONS {
        let origin = unavailable();
        let budget = exact(1, 5);
        let client = in_memory(&origin, version);
        let reads = RetryLayer::http().budget(budget.clone());
        let reads = reads.layer(client.clone());
        let writes = RetryLayer::http().budget(budget.clone()).layer(client);
        reads.oneshot(get(&origin)).await.unwrap();
        assert_eq!(budget.balance().available(), 2);
        writes.clone().oneshot(get(&origin)).await.unwrap();
        assert_eq!(budget.balance().available(), 0);
        writes.oneshot(get(&origin)).await.unwrap();
        assert_eq!(arrivals(&origin, version).len(), 3 + 5);
    }
}

/// R25b R80 Ask 13: the budget of each host is counted over a window of time. It does not matter how
/// many requests are in flight, and what one host spends the others keep.
#[tokio::test(start_paused = true)]
async fn budgets_are_counted_by_host_over_a_window() {
    for version in VERSIONS {
        let origin = unavailable();
        let retry = RetryLayer::http()
            .jitter(Jitter::None)
            .budget_per_authority(exact(50, 0).window(secs(10)).unwrap());
        let api = retry.layer(in_memory(&origin, version));
        // One after the other: never more than one is in flight.
        for _ in 0..10 {
            api.clone().oneshot(to("a.test")).await.unwrap();
        }
        assert_eq!(count(&origin, "a.test"), 15);
        // All at once.
        let at_once = (0..10).map(|_| api.clone().oneshot(to("b.test")));
        assert!(join_all(at_once).await.iter().all(Result::is_ok));
        assert_eq!(count(&origin, "b.test"), 15);
        // After the window all is as at the beginning.
        tokio::time::sleep(secs(11)).await;
        for _ in 0..10 {
            api.clone().oneshot(to("a.test")).await.unwrap();
        }
        assert_eq!(count(&origin, "a.test"), 30);
        arrivals(&origin, version);
    }
}

/// The reasons of all retries that gave up.
fn reasons(recorder: &Recorder) -> Vec<GiveUpReason> {
    let reason = |kind| match kind {
        EventKind::RetryGivenUp { reason, .. } => Some(reason),
        _ => None,
    };
    recorder.kinds().into_iter().filter_map(reason).collect()
}

/// R25b R80 Ask 14: a retry is withdrawn before its wait, so that a waiting retry counts. The others
/// give up at once and not after a wait in vain.
#[tokio::test(start_paused = true)]
async fn retries_that_wait_count() {
    for version in VERSIONS {
        let origin = unavailable();
        let recorder = Recorder::new();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(
                RetryLayer::http()
                    .max_retries(1)
                    .base_delay(secs(5))
                    .jitter(Jitter::None)
                    .budget_per_authority(exact(1, 3)),
            )
            .service(in_memory(&origin, version));
        let calls = (0..10).map(|_| async {
            let began = tokio::time::Instant::now();
            api.clone().oneshot(get(&origin)).await.unwrap();
            began.elapsed()
        });
        let mut took = join_all(calls).await;
        took.sort();
        assert_eq!(took[..7], [secs(0); 7]);
        assert_eq!(took[7..], [secs(5); 3]);
        assert_eq!(arrivals(&origin, version).len(), 13);
        let of = |reason| {
            reasons(&recorder)
                .iter()
                .filter(|found| **found == reason)
                .count()
        };
        assert_eq!(
            (of(GiveUpReason::Budget), of(GiveUpReason::Exhausted)),
            (7, 3)
        );
    }
}

/// R20 R25b Ask 20: attempts that the budget throttled and failed attempts are counted apart.
#[tokio::test(start_paused = true)]
async fn throttled_attempts_are_counted_apart() {
    for version in VERSIONS {
        let origin = unavailable();
        let recorder = Recorder::new();
        let (lines, _guard) = Lines::listen();
        let budget = exact(1, 4);
        let api = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(RetryLayer::http().budget(budget.clone()))
            .service(in_memory(&origin, version));
        for _ in 0..3 {
            api.clone().oneshot(get(&origin)).await.unwrap();
        }
        use GiveUpReason::{Budget, Exhausted};
        assert_eq!(reasons(&recorder), [Exhausted, Budget, Budget]);
        assert_eq!(recorder.count("attempt_ended"), 3 + 4);
        assert_eq!(recorder.count("retry_scheduled"), 4);
        let empty = lines.fields();
        let empty = empty
            .iter()
            .filter(|line| line.contains("the retry budget is empty"));
        assert_eq!(empty.count(), 2);
        assert_eq!(arrivals(&origin, version).len(), 7);
    }
}

async fn after_a_hang<const RETRIED: bool>(version: Version) -> usize {
    let origin = Origin::in_memory()
        .then(Reply::hang())
        .then(Reply::status(200));
    let retry =
        RetryLayer::http().decide_first(|_: &Result<Response<Incoming>, BoxError>, attempt| {
            (attempt.timed_out() && !RETRIED).then_some(Decision::Stop)
        });
    let api = ServiceBuilder::new()
        .layer(retry)
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .service(in_memory(&origin, version));
    let result = api.oneshot(get(&origin)).await;
    assert_eq!(result.is_ok(), RETRIED);
    arrivals(&origin, version).len()
}

/// R24 R81 Ask 20: attempts that timed out are repeated, unless the user decides otherwise.
#[tokio::test(start_paused = true)]
async fn attempts_that_timed_out_are_retried_or_not() {
    for version in VERSIONS {
        assert_eq!(after_a_hang::<true>(version).await, 2);
        assert_eq!(after_a_hang::<false>(version).await, 1);
    }
}
