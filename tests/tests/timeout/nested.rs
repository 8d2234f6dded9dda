//! Limits inside limits: whichever timer wakes, each limit expires at its time.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::Shared, stream::FuturesUnordered};
use proptest::prelude::*;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_keep::{BoxError, DedupLayer, RetryLayer, TimeoutLayer, find, timeout::Elapsed};
use tower_keep_tests::*;

type Hung = Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

/// A call of a service that never answers, under a limit of this many seconds.
fn limited(seconds: u64) -> Hung {
    let hangs = service_fn(|_: u32| pending::<Result<u32, BoxError>>());
    Box::pin(TimeoutLayer::new(secs(seconds)).layer(hangs).oneshot(0))
}

/// The limit that ended this, and when.
async fn ends(call: impl Future<Output = Result<u32, BoxError>>) -> (Duration, u64) {
    let began = Instant::now();
    let error = call.await.expect_err("nothing answers");
    let limit = find::<Elapsed>(&*error).expect("a limit ended it").limit();
    (limit, began.elapsed().as_secs())
}

/// Calls `code` under an outer limit of ten seconds.
async fn outer<F>(code: impl Fn() -> F + Clone + Send + Sync + 'static) -> (Duration, u64)
where
    F: Future<Output = Result<u32, BoxError>> + Send + 'static,
{
    let service = service_fn(move |_: u32| code());
    ends(TimeoutLayer::new(secs(10)).layer(service).oneshot(0)).await
}

/// R12 The inner limit is dropped in the poll in which it was first polled: the outer one holds all
/// the same.
#[tokio::test(start_paused = true)]
async fn an_inner_limit_that_is_dropped_leaves_the_outer_one() {
    let dropped_at_once = || async {
        tokio::select! {
            biased;
            _ = limited(5) => unreachable!("five seconds pass before"),
            () = std::future::ready(()) => {}
        }
        pending().await
    };
    assert_eq!(outer(dropped_at_once).await, (secs(10), 10));
    let dropped_later = || async {
        let _late = timeout(secs(3), limited(5)).await;
        pending().await
    };
    assert_eq!(outer(dropped_later).await, (secs(10), 10));
    let kept_and_not_polled = || async {
        let mut call = limited(5);
        assert!(futures::poll!(&mut call).is_pending());
        pending::<()>().await;
        call.await
    };
    assert_eq!(outer(kept_and_not_polled).await, (secs(10), 10));
}

/// R12 Between the two is code that wakes its parts by wakers of its own, or polls in other tasks.
#[tokio::test(start_paused = true)]
async fn an_inner_limit_expires_whatever_polls_it() {
    let unordered = || async {
        let mut calls: FuturesUnordered<_> = [7, 5, 6].map(limited).into_iter().collect();
        calls.next().await.expect("there are three")
    };
    assert_eq!(outer(unordered).await, (secs(5), 5));
    let spawned = || async { tokio::spawn(limited(5)).await.expect("it does not panic") };
    assert_eq!(outer(spawned).await, (secs(5), 5));
    let begun_here_and_spawned = || async {
        let mut call = limited(5);
        assert!(futures::poll!(&mut call).is_pending());
        tokio::spawn(call).await.expect("it does not panic")
    };
    assert_eq!(outer(begun_here_and_spawned).await, (secs(5), 5));
    let joined = || async {
        let (first, second) = tokio::join!(limited(6), limited(5));
        first.and(second)
    };
    assert_eq!(outer(joined).await, (secs(6), 6));
    let raced = || async {
        tokio::select! { answer = limited(6) => answer, answer = limited(5) => answer }
    };
    assert_eq!(outer(raced).await, (secs(5), 5));
    let after_a_while = || async {
        sleep(secs(4)).await;
        limited(5).await
    };
    assert_eq!(outer(after_a_while).await, (secs(5), 9));
    let too_late = || async {
        sleep(secs(6)).await;
        limited(5).await
    };
    assert_eq!(outer(too_late).await, (secs(10), 10));
    let in_turn = || async {
        for seconds in [1, 2, 3] {
            let _over = limited(seconds).await;
        }
        limited(3).await
    };
    assert_eq!(outer(in_turn).await, (secs(3), 9));
}

/// R12 A call that was begun under one limit goes on under another, or under none.
#[tokio::test(start_paused = true)]
async fn a_call_outlives_the_limit_around_it() {
    let place = Arc::new(Mutex::new(None));
    let begins = Arc::clone(&place);
    let began = outer(move || {
        let place = Arc::clone(&begins);
        async move {
            let mut call = limited(15);
            assert!(futures::poll!(&mut call).is_pending());
            *place.lock().unwrap() = Some(call);
            pending().await
        }
    });
    assert_eq!(began.await, (secs(10), 10));
    let call = place.lock().unwrap().take().expect("it was begun");
    // Fifteen seconds from its call on.
    assert_eq!(ends(call).await, (secs(15), 5));
}

/// R12, R64 Callers of one shared future are under limits of their own, and the caller that polls
/// it may leave.
#[tokio::test(start_paused = true)]
async fn a_shared_call_keeps_its_limit() {
    type Answer = Result<u32, Arc<str>>;
    let shared: Shared<Pin<Box<dyn Future<Output = Answer> + Send>>> = {
        let call: Pin<Box<dyn Future<Output = Answer> + Send>> =
            Box::pin(limited(5).map(|answer| answer.map_err(|error| error.to_string().into())));
        call.shared()
    };
    let caller = |seconds| {
        let shared = shared.clone();
        let service = service_fn(move |_: u32| {
            let shared = shared.clone();
            async move {
                shared
                    .await
                    .map_err(|error| BoxError::from(error.to_string()))
            }
        });
        TimeoutLayer::new(secs(seconds)).layer(service).oneshot(0)
    };
    let began = Instant::now();
    let (impatient, patient) = tokio::join!(caller(2), async {
        let answer = caller(20).await;
        (answer, began.elapsed())
    });
    assert_eq!(
        find::<Elapsed>(&*impatient.unwrap_err()).unwrap().limit(),
        secs(2)
    );
    let (answer, after) = patient;
    assert!(answer.unwrap_err().to_string().contains("5s"));
    assert_eq!(after, secs(5));

    // The layer's own way of sharing.
    let joined = DedupLayer::new(|_: &u32| Some(())).join().layer(
        TimeoutLayer::new(secs(5)).layer(service_fn(|_: u32| pending::<Result<u32, BoxError>>())),
    );
    let caller = |seconds| {
        TimeoutLayer::new(secs(seconds))
            .layer(joined.clone())
            .oneshot(0)
    };
    let began = Instant::now();
    let (impatient, patient) = tokio::join!(caller(2), ends(caller(20)));
    assert_eq!(
        find::<Elapsed>(&*impatient.unwrap_err()).unwrap().limit(),
        secs(2)
    );
    assert_eq!(patient, (secs(5), 5));
    assert_eq!(began.elapsed(), secs(5));
}

/// R12 A thread has one waker for whatever it blocks on: a limit in an inner `block_on` is not
/// woken by that of an outer one.
#[test]
fn an_inner_limit_expires_in_a_nested_block_on() {
    let blocks = service_fn(|_: u32| async {
        tokio::task::block_in_place(|| {
            let hangs = service_fn(|_: u32| pending::<Result<u32, BoxError>>());
            let inner = TimeoutLayer::new(ms(1)).layer(hangs);
            // If it were not woken, this would say so.
            Handle::current().block_on(timeout(secs(10), inner.oneshot(0)))
        })
        .expect("the limit is over long before")
    });
    let outer = TimeoutLayer::new(secs(3600)).layer(blocks);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let ended: Result<u32, BoxError> = runtime.block_on(outer.oneshot(0));
    let error = ended.expect_err("nothing answers");
    assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), ms(1));
}

/// R15 An attempt's limit inside a total: each attempt has its own time, and the waits between have
/// none.
#[tokio::test(start_paused = true)]
async fn attempts_are_limited_each_at_its_time() {
    let began = Instant::now();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&attempts);
    let hangs = service_fn(move |_: u32| {
        noted.lock().unwrap().push(began.elapsed().as_secs());
        pending::<Result<u32, BoxError>>()
    });
    let retry = RetryLayer::new().max_retries(9).base_delay(secs(1));
    let attempt = TimeoutLayer::new(secs(3)).per_attempt().layer(hangs);
    let stack = TimeoutLayer::new(secs(12)).layer(retry.layer(attempt));
    // Of three seconds each, with waits of one and two between: the third would have ended at 12,
    // and wins the tie.
    let error = stack.oneshot(0).await.unwrap_err();
    assert_eq!(*attempts.lock().unwrap(), [0, 4, 9]);
    assert_eq!(began.elapsed(), secs(12));
    assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), secs(3));
}

/// A part of a service's code: it takes this long, under this limit if there is one, in this way.
#[derive(Clone, Copy, Debug)]
struct Part {
    takes: u64,
    limit: Option<u64>,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Polled by the task itself.
    Here,
    /// With a waker of its own.
    Unordered,
    /// In a task of its own.
    Spawned,
    /// Given up after a second.
    GivenUp,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let way = prop_oneof![
        4 => Just(Way::Here),
        1 => Just(Way::Unordered),
        1 => Just(Way::Spawned),
        1 => Just(Way::GivenUp),
    ];
    let part = (0..6u64, prop::option::of(0..6u64), way);
    prop::collection::vec(
        part.prop_map(|(takes, limit, way)| Part { takes, limit, way }),
        0..5,
    )
}

/// How long the part takes: what is awaited counts, not what it comes to.
fn expected(part: Part) -> u64 {
    let takes = part.limit.map_or(part.takes, |limit| part.takes.min(limit));
    match part.way {
        Way::GivenUp => takes.min(1),
        _ => takes,
    }
}

async fn run(part: Part) {
    let takes = service_fn(move |_: u32| async move {
        if part.takes > 0 {
            sleep(secs(part.takes)).await;
        }
        Ok::<_, BoxError>(0)
    });
    let takes = BoxCloneSyncService::new(takes);
    let call: Hung = match part.limit {
        Some(limit) => Box::pin(TimeoutLayer::new(secs(limit)).layer(takes).oneshot(0)),
        None => Box::pin(takes.oneshot(0)),
    };
    match part.way {
        Way::Here => drop(call.await),
        Way::Unordered => {
            let mut calls: FuturesUnordered<_> = [call].into_iter().collect();
            drop(calls.next().await);
        }
        Way::Spawned => drop(tokio::spawn(call).await),
        Way::GivenUp => drop(timeout(secs(1), call).await),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// R12 Whatever the code under two outer limits does, with limits of its own, each of them
    /// expires at its time.
    #[test]
    fn limits_expire_at_their_times(
        parts in parts(),
        limits in (1..16u64, 1..16u64),
        in_order in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let takes: u64 = match in_order {
            true => parts.iter().map(|part| expected(*part)).sum(),
            false => parts.iter().map(|part| expected(*part)).max().unwrap_or(0),
        };
        // Where both come at the same time, the result of the task itself wins; another task may
        // come too late.
        let may_tie = parts.iter().any(|part| matches!(part.way, Way::Spawned));
        let (after, is_over) = runtime.block_on(async {
            let service = service_fn(move |_: u32| {
                let parts = parts.clone();
                async move {
                    match in_order {
                        true => for part in parts {
                            run(part).await;
                        },
                        false => {
                            futures::future::join_all(parts.into_iter().map(run)).await;
                        }
                    }
                    Ok::<_, BoxError>(0)
                }
            });
            let stack = TimeoutLayer::new(secs(limits.0))
                .layer(TimeoutLayer::new(secs(limits.1)).per_attempt().layer(service));
            let began = Instant::now();
            let answer = stack.oneshot(0).await;
            (began.elapsed(), answer.is_err())
        });
        let limit = limits.0.min(limits.1);
        prop_assert_eq!(after, secs(takes.min(limit)));
        if takes != limit || !may_tie {
            prop_assert_eq!(is_over, takes > limit);
        }
    }
}
