//! Joined executions, and cached results that are revalidated: a caller is set aside at each point
//! at which the execution waits.

use futures::FutureExt as _;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder};
use tower_keep::{
    CancelLayer, DedupLayer, LogLayer, Pipeline, RetryLayer, TimeoutLayer, find, timeout::Elapsed,
};
use tower_keep_test::Polled;
use tower_keep_tests::*;

use super::set_aside_stages::*;

/// Each way to join.
fn joining() -> Vec<NamedStack> {
    let mut all = stacks!(DedupLayer::new(one_key).join());
    let keep: NamedStack = (
        "keep",
        Box::new(|inner| {
            let layer = DedupLayer::new(one_key).join().cache(secs(600));
            Stack::new(layer.layer(inner))
        }),
    );
    all.push(keep);
    all
}

/// R64 A caller comes after another was set aside, at whichever point: it has the result, of the
/// same execution.
#[tokio::test(start_paused = true)]
async fn a_later_caller_has_the_result() {
    for (name, stack) in joining() {
        for plan in plans() {
            let points = at_each_point(async |at| {
                let inner = Staged::new(&plan);
                let (seen, limit) = (inner.seen(), at_most(&inner));
                let mut service = stack(inner);
                let mut holder = Polled::new(begin(&mut service, 0).await);
                if set_aside(&mut holder, at).await.is_some() {
                    return false;
                }
                let (result, took) = awaited(begin(&mut service, 1).await).await;
                let number = result.expect(name);
                assert!(took <= limit, "{name} {at:?}: {took:?}");
                assert_eq!((seen.begun(), seen.running()), (number, 0), "{name} {at:?}");
                if name == "keep" {
                    let third = begin(&mut service, 2).await.now_or_never();
                    assert_eq!(third.expect("at once").unwrap(), number);
                }
                // The other one has it too, at its next poll.
                assert_eq!(holder.assert_ready().unwrap(), number, "{name} {at:?}");
                assert_eq!((seen.begun(), seen.dropped()), (number, 0));
                true
            })
            .await;
            assert!(points > plan.len(), "{name}: {points}");
        }
    }
}

/// R64 Another caller joined and was polled before. From then on it is polled only when it is
/// woken: that is enough, whether the first caller is then set aside, at each of its later points,
/// or dropped.
#[tokio::test(start_paused = true)]
async fn an_earlier_caller_is_woken() {
    let rng = &mut fastrand::Rng::with_seed(6465);
    let seeds: Vec<_> = std::iter::repeat_with(|| rng.u64(..)).take(8).collect();
    for (name, stack) in joining() {
        for (plan, seed) in plans().zip(&seeds) {
            at_each_point(async |at| {
                let rng = &mut fastrand::Rng::with_seed(seed + at.polls as u64);
                let inner = Staged::new(&plan);
                let seen = inner.seen();
                let mut service = stack(inner);
                let mut holder = Polled::new(begin(&mut service, 0).await);
                let joins = Aside {
                    polls: rng.usize(..=at.polls),
                    woken: rng.bool(),
                };
                if set_aside(&mut holder, joins).await.is_some() {
                    return false;
                }
                let mut waiter = Polled::new(begin(&mut service, 1).await);
                if waiter.poll().is_ready() {
                    return true;
                }
                for _ in joins.polls..at.polls {
                    woken(&waiter).await;
                    if holder.poll().is_ready() {
                        // Nothing is left for it to do, and it is woken for its result.
                        assert!(waiter.is_woken(), "{name} {at:?}");
                        assert!(waiter.assert_ready().is_ok());
                        return false;
                    }
                }
                let is_dropped = rng.bool();
                let holder = (!is_dropped).then_some(holder);
                let (result, _) = awaited(by_wakes(waiter)).await;
                let number = result.expect(name);
                assert_eq!(seen.begun(), number, "{name} {at:?}");
                if let Some(mut holder) = holder {
                    assert_eq!(holder.assert_ready().unwrap(), number, "{name} {at:?}");
                }
                true
            })
            .await;
        }
    }
}

/// R64 A limit inside the execution expires in time for the caller that is polled, whichever point
/// the other was set aside at.
#[tokio::test(start_paused = true)]
async fn a_limit_inside_expires_in_time() {
    for mut plan in plans() {
        plan.push(Point::Time(1_000_000));
        at_each_point(async |at| {
            let layers = ServiceBuilder::new()
                .layer(DedupLayer::new(one_key).join())
                .layer(TimeoutLayer::new(secs(5)));
            let inner = Staged::new(&plan);
            let seen = inner.seen();
            let mut service = Stack::new(layers.service(inner));
            let mut began = Instant::now();
            let mut holder = Polled::new(begin(&mut service, 0).await);
            if set_aside(&mut holder, at).await.is_some() {
                return false;
            }
            if at.polls == 0 {
                began = Instant::now();
            }
            let (result, _) = awaited(begin(&mut service, 1).await).await;
            assert!(find::<Elapsed>(&*result.unwrap_err()).is_some(), "{at:?}");
            assert!(began.elapsed() <= secs(5) + ms(10), "{at:?}");
            assert!(holder.assert_ready().is_err());
            assert_eq!((seen.begun(), seen.dropped()), (1, 1));
            true
        })
        .await;
    }
}

/// R64 The limit around a caller is its own: if it passes while the caller is set aside, it stops
/// nobody else, and that caller has the result that is there when it is polled.
#[tokio::test(start_paused = true)]
async fn a_limit_outside_is_the_callers_own() {
    for plan in plans() {
        at_each_point(async |at| {
            let layers = ServiceBuilder::new()
                .layer(TimeoutLayer::none().limit_by(|limit: &u32| Some(secs((*limit).into()))))
                .layer(DedupLayer::new(one_key).join());
            let inner = Staged::new(&plan);
            let seen = inner.seen();
            let mut service = Stack::new(layers.service(inner));
            let mut holder = Polled::new(begin(&mut service, 1).await);
            if set_aside(&mut holder, at).await.is_some() {
                return false;
            }
            tokio::time::sleep(secs(2)).await;
            let (result, _) = awaited(begin(&mut service, 100).await).await;
            assert_eq!(result.unwrap(), 1, "{at:?}");
            assert_eq!(holder.assert_ready().unwrap(), 1, "{at:?}");
            assert_eq!((seen.begun(), seen.dropped()), (1, 0), "{at:?}");
            true
        })
        .await;
    }
}

/// R64 A stale result is there at its first poll, at each point of the revalidation, and so is the
/// new one after it. The call for which the revalidation began was never polled, or has its result
/// and is kept, or is dropped.
#[tokio::test(start_paused = true)]
async fn a_revalidation_goes_on_by_itself() {
    for plan in plans() {
        for polls in 0..3 {
            let inner = Staged::new(&plan);
            let (seen, takes) = (inner.seen(), inner.takes());
            let layer = DedupLayer::new(one_key).join().cache(secs(10));
            let mut service = Stack::new(layer.stale_while_revalidate(secs(100)).layer(inner));
            assert_eq!(begin(&mut service, 0).await.await.unwrap(), 1);
            tokio::time::sleep(secs(20)).await;
            let began = Instant::now();
            let mut holder = Polled::new(begin(&mut service, 0).await);
            if polls > 0 {
                assert_eq!(holder.assert_ready().unwrap(), 1);
            }
            let _holder = (polls < 2).then_some(holder);
            loop {
                let result = begin(&mut service, 1).await.now_or_never();
                let number = result.expect("at once").unwrap();
                if number == 2 {
                    break;
                }
                assert_eq!(number, 1);
                assert!(began.elapsed() <= takes, "{:?}", began.elapsed());
                tokio::time::sleep(ms(1)).await;
            }
            assert_eq!((seen.begun(), seen.dropped()), (2, 0));
        }
    }
}

/// R64 A call that comes once the result is too old even to be stale waits for the revalidation,
/// which a task drives.
#[tokio::test(start_paused = true)]
async fn a_call_joins_a_revalidation() {
    for plan in plans() {
        let inner = Staged::new(&plan);
        let (seen, takes) = (inner.seen(), inner.takes());
        let layer = DedupLayer::new(one_key).join().cache(ms(10));
        let mut service = Stack::new(layer.stale_while_revalidate(ms(10)).layer(inner));
        assert_eq!(begin(&mut service, 0).await.await.unwrap(), 1);
        tokio::time::sleep(ms(19)).await;
        let began = Instant::now();
        let _holder = begin(&mut service, 0).await;
        tokio::time::sleep(ms(2)).await;
        let (result, _) = awaited(begin(&mut service, 1).await).await;
        assert_eq!((result.unwrap(), seen.begun()), (2, 2));
        assert_eq!(began.elapsed(), takes);
    }
}
