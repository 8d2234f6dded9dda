//! tower's own bulkhead, rate limit, hedge and fallback, where the README puts them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_test::{assert_pending, task};
use tower::{ServiceBuilder, ServiceExt, hedge::Hedge, service_fn};
use tower_keep::{BoxError, CancelLayer, EventKind, LogLayer, RetryLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::all_ended;

/// tower's own bulkhead, rate limit, hedge and fallback, where the README puts them.
#[tokio::test(start_paused = true)]
async fn towers_own() {
    #[derive(Clone)]
    struct Always;

    impl tower::hedge::Policy<u32> for Always {
        fn clone_request(&self, request: &u32) -> Option<u32> {
            Some(*request)
        }

        fn can_retry(&self, _: &u32) -> bool {
            true
        }
    }

    async fn or_zero(result: Result<u32, BoxError>) -> Result<u32, BoxError> {
        result.or_else(|_| Ok(0))
    }

    let seen = Recorder::new();
    let hangs = Arc::new(AtomicBool::new(false));
    let next = Arc::clone(&hangs);
    let inner = service_fn(move |wait: u32| {
        // One call hangs for an hour, all others take as many seconds as they say.
        let hangs = next.swap(false, Ordering::Relaxed);
        let seconds = if hangs { 3600 } else { wait };
        async move {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            if wait == 7 {
                return Err(BoxError::from("seven"));
            }
            Ok(wait)
        }
    });
    let stack = ServiceBuilder::new()
        .layer(LogLayer::to(seen.clone()))
        .layer(CancelLayer::new())
        .then(or_zero)
        .load_shed()
        .concurrency_limit(1)
        .layer(RetryLayer::new().max_retries(0))
        .buffer(10)
        .service(Hedge::new_with_mock_latencies(
            inner,
            Always,
            3,
            0.9,
            Duration::from_secs(3600),
            &[1_000; 10],
        ));
    let began = Instant::now();
    hangs.store(true, Ordering::Relaxed);
    assert_eq!(stack.clone().oneshot(1).await.unwrap(), 1);
    // It is hedged after one second, and the second call takes another.
    assert_eq!(began.elapsed().as_secs(), 2);
    assert!(!hangs.load(Ordering::Relaxed));

    let mut running = task::spawn(stack.clone().oneshot(2));
    assert_pending!(running.poll());
    assert_eq!(
        stack.clone().oneshot(2).await.unwrap(),
        0,
        "no place is free"
    );
    assert_eq!(running.await.unwrap(), 2);
    assert_eq!(stack.oneshot(7).await.unwrap(), 0, "it failed");
    assert_eq!(
        all_ended(&seen, 4).await,
        [const { EventKind::Succeeded }; 4]
    );
}
