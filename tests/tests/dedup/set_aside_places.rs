//! A call that has its key alone is set aside at each point at which it waits: in reject mode, in
//! `latest`, and in a Cancel layer that replaces. What the next call gets, and what the older call
//! gets when it is polled again.

use futures::FutureExt as _;
use tower::{Layer, ServiceBuilder};
use tower_keep::{
    CancelLayer, CancelReason, DedupLayer, LogLayer, Pipeline, RetryLayer, TimeoutLayer,
    dedup::Duplicate, find, timeout::Elapsed,
};
use tower_keep_test::Polled;
use tower_keep_tests::*;

use super::set_aside_stages::*;

/// The error of a call that came while another had its key.
#[track_caller]
fn rejected(result: Option<Result<u32, tower_keep::BoxError>>) {
    let error = result.expect("at once").unwrap_err();
    let duplicate = find::<Duplicate>(&*error).expect("a duplicate");
    assert!(duplicate.replaced().is_none());
}

/// R64 Reject mode: a call is rejected at its first poll. Once the call with the key is dropped, or
/// polled to its end, the next call is executed at once.
#[tokio::test(start_paused = true)]
async fn reject_keeps_the_key_until_the_end() {
    for (name, stack) in stacks!(DedupLayer::new(one_key)) {
        for plan in plans() {
            at_each_point(async |at| {
                for is_dropped in [true, false] {
                    let inner = Staged::new(&plan);
                    let (seen, limit) = (inner.seen(), at_most(&inner));
                    let mut service = stack(inner);
                    let mut holder = Polled::new(begin(&mut service, 0).await);
                    if set_aside(&mut holder, at).await.is_some() {
                        return false;
                    }
                    rejected(begin(&mut service, 1).await.now_or_never());
                    tokio::time::sleep(secs(5)).await;
                    rejected(begin(&mut service, 1).await.now_or_never());
                    let begun = seen.begun();
                    if is_dropped {
                        drop(holder);
                    } else {
                        assert!(awaited(holder).await.0.is_ok(), "{name} {at:?}");
                    }
                    assert_eq!(seen.running(), 0, "{name} {at:?}");
                    let (result, took) = awaited(begin(&mut service, 1).await).await;
                    assert!(result.unwrap() > begun && took <= limit, "{name} {at:?}");
                }
                true
            })
            .await;
        }
    }
}

/// R64 A limit around a call that was set aside frees its key only when that call is polled: then
/// it is late, and the next call is executed.
#[tokio::test(start_paused = true)]
async fn a_limit_frees_the_key_when_its_call_is_polled() {
    for mut plan in plans() {
        plan.push(Point::Time(1_000_000));
        at_each_point(async |at| {
            let layers = ServiceBuilder::new()
                .layer(TimeoutLayer::new(secs(5)))
                .layer(DedupLayer::new(one_key));
            let mut service = Stack::new(layers.service(Staged::new(&plan)));
            let mut holder = Polled::new(begin(&mut service, 0).await);
            if set_aside(&mut holder, at).await.is_some() {
                return false;
            }
            tokio::time::sleep(secs(60)).await;
            rejected(begin(&mut service, 1).await.now_or_never());
            let (late, _) = awaited(holder).await;
            assert!(find::<Elapsed>(&*late.unwrap_err()).is_some(), "{at:?}");
            let mut next = Polled::new(begin(&mut service, 1).await);
            assert!(next.poll().is_pending(), "{at:?}: it has the key");
            true
        })
        .await;
    }
}

/// R64 A task that is given the call, as a detached Cancel layer makes it, keeps polling it: it
/// holds the key for no longer than it works or its limit lets it.
#[tokio::test(start_paused = true)]
async fn a_task_of_its_own_frees_the_key_in_time() {
    for plan in plans() {
        at_each_point(async |at| {
            let layers = ServiceBuilder::new()
                .layer(CancelLayer::new().detached())
                .layer(TimeoutLayer::new(secs(5)))
                .layer(DedupLayer::new(one_key));
            let inner = Staged::new(&plan);
            let takes = inner.takes();
            let mut service = Stack::new(layers.service(inner));
            let mut holder = Polled::new(begin(&mut service, 0).await);
            if set_aside(&mut holder, at).await.is_some() {
                return false;
            }
            tokio::time::sleep(takes + ms(1)).await;
            let (result, took) = awaited(begin(&mut service, 1).await).await;
            assert_eq!((result.ok(), took), (Some(2), takes), "{at:?}");
            assert_eq!(holder.assert_ready().unwrap(), 1, "{at:?}");
            true
        })
        .await;
    }
}

/// R64 `latest`: the newer call runs as if there were no other, at whichever point that is set
/// aside. The older one's work is left alone until that call is polled; then it is dropped, and the
/// call was replaced, a result that was there lost.
#[tokio::test(start_paused = true)]
async fn latest_never_waits() {
    for (name, stack) in stacks!(DedupLayer::new(one_key).latest()) {
        for plan in plans() {
            at_each_point(async |at| {
                for is_dropped in [true, false] {
                    let inner = Staged::new(&plan);
                    let (seen, alone, limit) = (inner.seen(), inner.takes(), at_most(&inner));
                    let mut service = stack(inner);
                    let mut older = Polled::new(begin(&mut service, 0).await);
                    if set_aside(&mut older, at).await.is_some() {
                        return false;
                    }
                    let (begun, running) = (seen.begun(), seen.running());
                    let newer = begin(&mut service, 1).await;
                    if at.polls > 0 {
                        older.assert_woken();
                    }
                    let (result, took) = awaited(newer).await;
                    assert!(result.unwrap() > begun, "{name} {at:?}");
                    assert!(took <= limit, "{name} {at:?}: {took:?}");
                    assert!(name != "bare" || took == alone, "{at:?}: {took:?}");
                    assert_eq!(seen.running(), running, "{name} {at:?}");
                    // The key is free: the next call replaces nobody, and the end of the oldest is
                    // nothing to it.
                    let mut next = Polled::new(begin(&mut service, 2).await);
                    assert!(next.poll().is_pending());
                    if is_dropped {
                        drop(older);
                    } else {
                        let error = older.assert_ready().unwrap_err();
                        if find::<Duplicate>(&*error).is_some() {
                            replaced(&error);
                        } else {
                            assert_eq!(reason(&error), CancelReason::Replaced);
                        }
                    }
                    assert_eq!(seen.running(), 0, "{name} {at:?}");
                    assert!(awaited(next).await.0.is_ok(), "{name} {at:?}");
                }
                true
            })
            .await;
        }
    }
}

/// R64 Each of several calls is replaced by the next, and set aside at a point of its own.
#[tokio::test(start_paused = true)]
async fn latest_never_waits_for_several() {
    let rng = &mut fastrand::Rng::with_seed(642);
    for (name, stack) in stacks!(DedupLayer::new(one_key).latest()) {
        for plan in plans() {
            let inner = Staged::new(&plan);
            let limit = at_most(&inner);
            let mut service = stack(inner);
            let mut aside = Vec::new();
            for call in 0..5 {
                let mut older = Polled::new(begin(&mut service, call).await);
                let at = Aside {
                    polls: rng.usize(..plan.len()),
                    woken: rng.bool(),
                };
                assert!(set_aside(&mut older, at).await.is_none());
                aside.push(older);
            }
            let (result, took) = awaited(begin(&mut service, 9).await).await;
            assert!(result.is_ok() && took <= limit, "{name}");
            rng.shuffle(&mut aside);
            for mut older in aside {
                let error = older.assert_ready().unwrap_err();
                assert!(
                    find::<Duplicate>(&*error).is_some_and(|why| why.replaced().is_some())
                        || reason(&error) == CancelReason::Replaced,
                    "{name}"
                );
            }
        }
    }
}

/// R64 A Cancel layer that replaces: the newer job takes exactly as long as a lone one. The older
/// one ends when it is polled; with a grace period that begins then, and its work may clean up.
#[tokio::test(start_paused = true)]
async fn a_newer_job_never_waits() {
    for grace in [None, Some(secs(5))] {
        for plan in plans() {
            at_each_point(async |at| {
                let inner = Staged::new(&plan);
                let (seen, takes) = (inner.seen(), inner.takes());
                let mut layer = CancelLayer::new().replace(one_key);
                if let Some(grace) = grace {
                    layer = layer.grace(grace);
                }
                let mut service = Stack::new(layer.layer(inner));
                let mut older = Polled::new(begin(&mut service, 0).await);
                if set_aside(&mut older, at).await.is_some() {
                    return false;
                }
                let newer = begin(&mut service, 1).await;
                if at.polls > 0 {
                    older.assert_woken();
                }
                // The instance was made ready before.
                let (result, took) = awaited(newer).await;
                assert_eq!((result.unwrap(), seen.running()), (2, 1), "{at:?}");
                assert_eq!(took, takes - ms(5), "{at:?}");
                tokio::time::sleep(secs(10)).await;
                let (error, took) = awaited(older).await;
                assert_eq!(reason(&error.unwrap_err()), CancelReason::Replaced);
                assert_eq!(seen.running(), 0, "{at:?}");
                if grace.is_none() {
                    assert!(took.is_zero(), "{at:?}");
                }
                assert_eq!(seen.dropped(), u32::from(grace.is_none()), "{at:?}");
                true
            })
            .await;
        }
    }
}
