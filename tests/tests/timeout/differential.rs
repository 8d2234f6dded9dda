//! The Timeout layer does what tower's own Timeout does.

use std::{convert::Infallible, time::Duration};

use proptest::prelude::*;
use tokio::time::Instant;
use tower::{Layer, Service, service_fn};
use tower_keep::{CancelLayer, LogLayer, TimeoutLayer};

/// Whether it answered, and when.
type Seen = (bool, Duration);

/// Calls a service that takes `delay` and polls the future first after `late`.
async fn observe<L>(layer: L, delay: Duration, late: Duration) -> Seen
where
    L: Layer<tower::util::BoxCloneService<(), (), Infallible>>,
    L::Service: Service<(), Response = ()>,
{
    let inner = service_fn(move |()| {
        // The inner clock starts at the call too; without a delay it is ready at once, without a
        // timer.
        let ready = (!delay.is_zero()).then(|| tokio::time::sleep(delay));
        async move {
            if let Some(ready) = ready {
                ready.await;
            }
            Ok::<_, Infallible>(())
        }
    });
    let mut service = layer.layer(tower::util::BoxCloneService::new(inner));
    let began = Instant::now();
    let future = service.call(());
    tokio::time::sleep(late).await;
    let answered = future.await.is_ok();
    (answered, began.elapsed())
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

/// Often the same number twice, and zero.
fn ms() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), 1..6u64, 1..200u64].prop_map(Duration::from_millis)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Behaviour 18, R12, R16b: for every delay, limit and time of the first poll, the same result
    /// at the same moment as tower's own Timeout; in each mode that does not report progress or
    /// give a grace period.
    #[test]
    fn equals_towers_timeout(delay in ms(), limit in ms(), late in ms()) {
        paused(async {
            let towers = observe(tower::timeout::TimeoutLayer::new(limit), delay, late).await;
            let answered = delay <= limit.max(late);
            prop_assert_eq!(towers.0, answered, "tower's own is another than thought");
            let ours = observe(TimeoutLayer::new(limit), delay, late).await;
            prop_assert_eq!(ours, towers, "overall");
            let ours = observe(TimeoutLayer::new(limit).per_attempt(), delay, late).await;
            prop_assert_eq!(ours, towers, "attempt");
            let ours = observe(TimeoutLayer::new(limit).idle(), delay, late).await;
            prop_assert_eq!(ours, towers, "idle");
            let ours = observe(TimeoutLayer::new(limit).grace(Duration::ZERO), delay, late).await;
            prop_assert_eq!(ours, towers, "no grace");
            let by_request = TimeoutLayer::none().limit_by(move |(): &()| Some(limit));
            let ours = observe(by_request, delay, late).await;
            prop_assert_eq!(ours, towers, "from the request");
            // A job makes no difference.
            let tracked = (LogLayer::new(), CancelLayer::new(), TimeoutLayer::new(limit));
            let ours = observe(tracked, delay, late).await;
            prop_assert_eq!(ours, towers, "tracked");
            Ok(())
        })?;
    }

    /// R11b: with a grace period the same calls answer, at the same moment; the others end in the
    /// limit's error, at their own end or that of the grace period.
    #[test]
    fn a_grace_period_answers_the_same_calls(
        delay in ms(), limit in ms(), late in ms(), grace in ms(),
    ) {
        paused(async {
            let towers = observe(tower::timeout::TimeoutLayer::new(limit), delay, late).await;
            let ours = observe(TimeoutLayer::new(limit).grace(grace), delay, late).await;
            prop_assert_eq!(ours.0, towers.0);
            let end = if towers.0 { towers.1 } else { delay.min(towers.1 + grace) };
            prop_assert_eq!(ours.1, end);
            Ok(())
        })?;
    }
}

/// Behaviour 19, R15, R16, R56: retries under an overall limit begin no attempt past it, the limit
/// of an attempt is retried and the overall one is not, and the error says which expired and after
/// how long.
#[tokio::test(start_paused = true)]
async fn limits_around_and_inside_a_retry() {
    use tower::{ServiceBuilder, ServiceExt};
    use tower_keep::{LimitScope, RetryLayer, find, timeout::Elapsed};
    use tower_keep_test::{Scripted, secs};

    for (overall, scope, limit, attempts, ends) in [
        // Attempts at 0, 11 and 23.
        (30, LimitScope::Overall, 30, 3, 30),
        // The wait after the second one would reach the limit.
        (22, LimitScope::Attempt, 10, 2, 21),
        (100, LimitScope::Attempt, 10, 3, 33),
    ] {
        let inner = Scripted::<u32, u32>::new().never().repeat_last();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(LogLayer::new())
            .layer(TimeoutLayer::new(secs(overall)))
            .layer(RetryLayer::new().max_retries(2))
            .layer(TimeoutLayer::new(secs(10)).per_attempt())
            .service(inner.strict());
        let began = Instant::now();
        let error = service.oneshot(0).await.unwrap_err();
        let why = find::<Elapsed>(&*error).unwrap();
        assert_eq!((why.scope(), why.limit()), (&scope, secs(limit)));
        assert_eq!(why.attempt(), attempts);
        assert_eq!(began.elapsed(), secs(ends));
        assert_eq!(calls.count(), attempts as usize);
        let latest = calls.started_at().into_iter().max();
        assert!(latest < Some(secs(overall)));
    }
}
