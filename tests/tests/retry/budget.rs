//! How many retries there are, of all calls together.

use std::{sync::Arc, time::Duration};

use tokio::sync::Barrier;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    EventKind, GiveUpReason, Ratio, RetryLayer, TimeoutLayer,
    retry::{Balance, RetryBudget},
};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

fn percent(percent: u32) -> Ratio {
    Ratio::percent(percent).unwrap()
}

/// What a budget holds: first attempts, retries, and what is left.
fn held(balance: Balance) -> (u64, u64, u64) {
    (
        balance.first_attempts(),
        balance.retries(),
        balance.available(),
    )
}

/// R25b, behaviour 21: exact at every ratio: of a hundred calls that fail, as many retries as the
/// ratio says, in one window. (tower's own budget takes 60 % for 100 %.)
#[tokio::test(start_paused = true)]
async fn exact_at_every_ratio() {
    for share in 1..=100 {
        let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
        let calls = inner.calls();
        let retry = RetryLayer::new()
            .max_retries(1)
            .base_delay(Duration::ZERO)
            .budget(RetryBudget::new(percent(share)).floor(0));
        let mut service = retry.layer(inner);
        for _ in 0..100 {
            begin(&mut service, 0).await.await.unwrap_err();
        }
        assert_eq!(calls.count() - 100, share as usize);
    }
}

/// Behaviour 21: where every other attempt fails, the default budget allows 1.2 attempts a call,
/// over any time: the floor of 3 in 10 s is not on top.
#[tokio::test(start_paused = true)]
async fn the_default_bounds_the_load() {
    // A hundred calls a second, for two minutes.
    const CALLS: usize = 12_000;
    let failing = std::sync::atomic::AtomicU32::new(0);
    let inner = Scripted::<u32, u32>::new().otherwise({
        let failing = Arc::new(failing);
        move || match failing.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
            0 => Step::error("no"),
            _ => Step::answer(1),
        }
    });
    let calls = inner.calls();
    let retry = RetryLayer::new()
        .base_delay(Duration::ZERO)
        .budget(RetryBudget::default());
    let mut service = retry.layer(inner);
    for call in 0..CALLS {
        let _ = begin(&mut service, 0).await.await;
        if call % 100 == 99 {
            tokio::time::sleep(secs(1)).await;
        }
    }
    let retries = calls.count() - CALLS;
    assert!(retries <= CALLS / 5, "{retries} retries");
    // It is of use, too: more than nine tenths of what it allows.
    assert!(retries > CALLS * 18 / 100, "{retries} retries");
}

/// R25b: when it is empty the original outcome is returned at once, and an event says so, before
/// the job's end.
#[tokio::test(start_paused = true)]
async fn an_empty_budget() {
    let budget = RetryBudget::default().floor(1);
    for (outcome, names) in [
        (
            "one retry is left",
            vec![
                "dispatched",
                "started",
                "attempt_ended",
                "retry_scheduled",
                "retrying",
                "attempt_ended",
                "retry_given_up",
                "failed",
            ],
        ),
        (
            "none is left",
            vec![
                "dispatched",
                "started",
                "attempt_ended",
                "retry_given_up",
                "failed",
            ],
        ),
    ] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new().error(outcome).repeat_last();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().budget(budget.clone()))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Err(outcome));
        recorder.assert_names(names.clone());
        assert!(matches!(
            recorder.kinds()[names.len() - 2],
            EventKind::RetryGivenUp {
                attempt,
                max_retries: 3,
                reason: GiveUpReason::Budget,
                ..
            } if attempt == recorder.count("attempt_ended") as u32
        ));
    }
}

/// R25b: several layers share one budget, and its balance can be read. What has left the window
/// counts no more.
#[tokio::test(start_paused = true)]
async fn layers_share_a_budget() {
    let budget = RetryBudget::new(percent(50)).floor(0);
    let succeeding = RetryLayer::new()
        .budget(budget.clone())
        .layer(Scripted::<u32, u32>::new().answer(1).repeat_last());
    let retry = RetryLayer::new()
        .base_delay(Duration::ZERO)
        .budget(budget.clone());
    let failing = retry.layer(Scripted::<u32, u32>::new().error("no").repeat_last());
    assert_eq!(held(budget.balance()), (0, 0, 0));
    for _ in 0..9 {
        succeeding.clone().oneshot(0).await.unwrap();
    }
    assert_eq!(held(budget.balance()), (9, 0, 4));
    let mut called = failing.clone();
    let mut call = std::pin::pin!(called.ready().await.unwrap().call(0));
    assert_eq!(call.as_mut().await, Err("no"));
    assert_eq!(call.attempts(), 4);
    assert_eq!(held(budget.balance()), (10, 3, 2));
    failing.clone().oneshot(0).await.unwrap_err();
    assert_eq!(held(budget.balance()), (11, 5, 0));
    tokio::time::sleep(secs(11)).await;
    assert_eq!(held(budget.balance()), (0, 0, 0));
}

/// The window can be set, and a window that is too short is refused.
#[tokio::test(start_paused = true)]
async fn the_window_can_be_set() {
    let budget = RetryBudget::default();
    for window in [Duration::ZERO, Duration::from_micros(9_999)] {
        let error = budget.window(window).unwrap_err();
        assert_eq!((error.window(), error.min()), (window, ms(10)));
        assert!(
            error.to_string().contains("must be at least 10ms"),
            "{error}"
        );
    }
    assert!(budget.window(ms(10)).is_ok());
    let budget = budget.window(ms(100)).unwrap();
    let retry = RetryLayer::new().max_delay(ms(1)).max_retries(9);
    let service = retry
        .budget(budget.clone())
        .layer(Scripted::<u32, u32>::new().error("no").repeat_last());
    for _ in 0..2 {
        service.clone().oneshot(0).await.unwrap_err();
        assert_eq!(held(budget.balance()), (1, 3, 0));
        tokio::time::sleep(ms(100)).await;
    }
}

/// A retry that never came, as the call was dropped during the wait, stays spent. What is given up
/// for another reason was never taken.
#[tokio::test(start_paused = true)]
async fn what_a_wait_has_taken_stays_taken() {
    let failing = || Scripted::<u32, u32>::new().error("no").repeat_last();
    let budget = RetryBudget::default();
    let retry = RetryLayer::new().budget(budget.clone());
    let mut service = retry.clone().layer(failing());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_pending();
    assert_eq!(held(budget.balance()), (1, 1, 2));
    drop(call);
    assert_eq!(held(budget.balance()), (1, 1, 2));

    let limited = TimeoutLayer::new(secs(1)).layer(retry.layer(failing()));
    limited.oneshot(0).await.unwrap_err();
    assert_eq!(held(budget.balance()), (2, 1, 2));
}

/// R25b: concurrent without overdraft: on several threads, hundreds of calls that all fail share
/// one budget.
#[test]
fn no_overdraft_on_several_threads() {
    const TASKS: usize = 8;
    const CALLS: usize = 250;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        for share in [20, 33, 60] {
            let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
            let calls = inner.calls();
            let budget = RetryBudget::new(percent(share))
                .floor(0)
                .window(secs(3600))
                .unwrap();
            let retry = RetryLayer::new()
                .base_delay(Duration::ZERO)
                .max_retries(5)
                .budget(budget.clone());
            let service = retry.layer(inner);
            let start = Arc::new(Barrier::new(TASKS));
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let (mut service, start) = (service.clone(), start.clone());
                    tokio::spawn(async move {
                        start.wait().await;
                        for _ in 0..CALLS {
                            begin(&mut service, 0).await.await.unwrap_err();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let firsts = TASKS * CALLS;
            let retries = calls.count() - firsts;
            assert_eq!(retries, firsts * share as usize / 100);
            assert_eq!(
                held(budget.balance()),
                (firsts as u64, retries as u64, 0),
                "{share} %"
            );
        }
    });
}
