//! What is waited for outside the dedup layer: the places of a dispatcher, another library's
//! permits, and a shutdown.

use std::num::NonZeroUsize;

use futures::FutureExt as _;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Dispatcher, cancel::CancelHandle,
    dispatch::Full, find,
};
use tower_keep_test::Polled;
use tower_keep_tests::*;

use super::set_aside_stages::*;

fn one_at_a_time(inner: Staged) -> Dispatcher<Stack> {
    Dispatcher::new(Stack::new(inner)).limit(NonZeroUsize::MIN)
}

/// R64 A job's place is free when the job is over, though its handle is never polled, or once, or
/// dropped. Until then a call that does not wait is turned away at once.
#[tokio::test(start_paused = true)]
async fn a_jobs_place_is_free_when_the_job_is_over() {
    for plan in plans() {
        for handling in 0..3 {
            let inner = Staged::new(&plan);
            let takes = inner.takes();
            let jobs = one_at_a_time(inner);
            let began = Instant::now();
            let mut handle = Polled::new(jobs.dispatch(1));
            if handling > 0 {
                handle.assert_pending();
            }
            let kept = (handling < 2).then_some(handle);
            let full = jobs.dispatch(2).now_or_never().expect("at once");
            assert!(find::<Full>(&*full.unwrap_err()).is_some());
            let (place, took) = awaited(jobs.reserve()).await;
            assert_eq!(took, takes);
            let (result, _) = awaited(place.unwrap().dispatch(3)).await;
            assert_eq!((result.unwrap(), began.elapsed()), (2, 2 * takes));
            if let Some(mut handle) = kept {
                assert_eq!(handle.assert_ready().unwrap(), 1);
            }
        }
    }
}

/// R64 A place that was reserved is kept until it is used or dropped: by hand, by an instance that
/// is ready, or by a wait whose turn came while it was set aside. Calls that come later wait for
/// that.
#[tokio::test(start_paused = true)]
async fn a_reserved_place_is_kept() {
    let plan = plan(3);
    for how in ["place", "instance", "turn", "turn of an instance"] {
        for is_used in [true, false] {
            let inner = Staged::new(&plan);
            let takes = inner.takes();
            let jobs = one_at_a_time(inner);
            let mut instance = jobs.clone();
            let mut later = jobs.clone();
            let running = how.starts_with("turn").then(|| jobs.dispatch(0));
            let mut waiting = Polled::new(jobs.reserve());
            let mut readying = Polled::new(std::future::poll_fn(|cx| instance.poll_ready(cx)));
            let mut place = None;
            match how {
                "place" => place = Some(waiting.assert_ready().unwrap()),
                "instance" => readying.assert_ready().unwrap(),
                "turn" => waiting.assert_pending(),
                _ => readying.assert_pending(),
            }
            tokio::time::sleep(takes + ms(1)).await;
            if running.is_some() {
                assert!(waiting.is_woken() != readying.is_woken(), "{how}");
            }
            let mut next = Polled::new(ServiceExt::<u32>::ready(&mut later));
            assert!(waits(&mut next).await, "{how}");
            assert_eq!(jobs.available(), Some(0), "{how}");
            let mut used = None;
            if how == "turn" && is_used {
                place = Some(waiting.assert_ready().unwrap());
            } else {
                drop(waiting);
            }
            let by_instance = how.ends_with("instance");
            if by_instance && is_used {
                if !readying.is_done() {
                    readying.assert_ready().unwrap();
                }
                drop(readying);
                used = Some(instance.call(1).await.unwrap());
            } else {
                drop(readying);
                drop(instance);
            }
            if let Some(place) = place {
                if is_used {
                    used = Some(place.dispatch(1));
                }
            }
            assert_eq!(used.is_some(), is_used);
            let (ready, took) = awaited(by_wakes(next)).await;
            ready.unwrap();
            let free = if is_used { takes } else { ms(0) };
            assert!((free..=free + ms(1)).contains(&took), "{how}: {took:?}");
        }
    }
}

/// R64 A call that is set aside, at whichever point, keeps the permit of a foreign layer around it
/// until it is dropped or polled to its end. So does a joined execution inside which the layer is;
/// there any of its callers can drive it.
#[tokio::test(start_paused = true)]
async fn a_foreign_permit_is_kept() {
    for plan in plans() {
        for is_inside in [false, true] {
            at_each_point(async |at| {
                for is_dropped in [true, false] {
                    let permits = ConcurrencyLimitLayer::new(1);
                    let inner = Staged::new(&plan);
                    let mut service = if is_inside {
                        let dedup = DedupLayer::new(|request| Some(*request)).join();
                        Stack::new(dedup.layer(permits.layer(inner)))
                    } else {
                        Stack::new(permits.layer(inner))
                    };
                    let mut holder = Polled::new(begin(&mut service, 1).await);
                    if set_aside(&mut holder, at).await.is_some() {
                        return false;
                    }
                    let mut next = service.clone();
                    let mut next = Polled::new(async move { begin(&mut next, 2).await.await });
                    if at.polls == 0 && is_inside {
                        // An execution that nobody polled holds nothing.
                        assert_eq!(awaited(next).await.0.unwrap(), 1);
                        continue;
                    }
                    assert!(waits(&mut next).await, "{at:?}");
                    if is_dropped {
                        drop(holder);
                    } else if is_inside {
                        // Another caller of the same execution.
                        assert_eq!(awaited(begin(&mut service, 1).await).await.0.unwrap(), 1);
                        assert_eq!(holder.assert_ready().unwrap(), 1);
                    } else {
                        assert_eq!(awaited(holder).await.0.unwrap(), 1);
                    }
                    next.assert_woken();
                    assert!(awaited(by_wakes(next)).await.0.is_ok(), "{at:?}");
                }
                true
            })
            .await;
        }
    }
}

fn is_shut_down(result: Result<u32, BoxError>) -> bool {
    reason(&result.unwrap_err()) == CancelReason::Shutdown
}

/// A shutdown that goes on, though its time was up long ago.
async fn shut_down(
    handle: &CancelHandle,
) -> Polled<impl Future<Output = tower_keep::cancel::ShutdownReport> + use<>> {
    let mut shutdown = Polled::new(handle.shutdown(secs(5)));
    assert!(waits(&mut shutdown).await);
    shutdown
}

/// R64 A shutdown waits for a call that was set aside, at whichever point, though its time is up.
/// It is over when that call is polled, and then fails as cancelled, or dropped.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_call() {
    for plan in plans() {
        at_each_point(async |at| {
            for is_dropped in [true, false] {
                let layer = CancelLayer::new();
                let handle = layer.handle();
                let mut service = Stack::new(layer.layer(Staged::new(&plan)));
                let mut holder = Polled::new(begin(&mut service, 1).await);
                if set_aside(&mut holder, at).await.is_some() {
                    return false;
                }
                let shutdown = shut_down(&handle).await;
                if at.polls > 0 {
                    holder.assert_woken();
                }
                if is_dropped {
                    drop(holder);
                } else {
                    assert!(is_shut_down(holder.assert_ready()), "{at:?}");
                }
                let (counts, took) = awaited(by_wakes(shutdown)).await;
                assert_eq!((counts.finished, counts.cancelled), (0, 1), "{at:?}");
                assert!(took.is_zero(), "{at:?}");
            }
            true
        })
        .await;
    }
}

/// R64 A call that is polled to its end before the time is up is finished, and so is the shutdown.
#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_with_the_call() {
    for plan in plans() {
        at_each_point(async |at| {
            let layer = CancelLayer::new();
            let handle = layer.handle();
            let mut service = Stack::new(layer.layer(Staged::new(&plan)));
            let mut holder = Polled::new(begin(&mut service, 1).await);
            if set_aside(&mut holder, at).await.is_some() {
                return false;
            }
            let mut shutdown = Polled::new(handle.shutdown(secs(5)));
            shutdown.assert_pending();
            assert_eq!(awaited(holder).await.0.unwrap(), 1, "{at:?}");
            shutdown.assert_woken();
            let counts = shutdown.assert_ready();
            assert_eq!((counts.finished, counts.cancelled), (1, 0), "{at:?}");
            true
        })
        .await;
    }
}

/// R64 A job in a task of its own ends in time, detached or dispatched, though its caller is set
/// aside: the shutdown takes no longer than it was given.
#[tokio::test(start_paused = true)]
async fn a_shutdown_is_in_time_where_tasks_poll() {
    for mut plan in plans() {
        plan.push(Point::Time(1_000_000));
        let detached = CancelLayer::new().detached();
        let handle = detached.handle();
        let mut service = Stack::new(detached.layer(Staged::new(&plan)));
        for polls in 0..2 {
            let jobs = one_at_a_time(Staged::new(&plan));
            let mut aside = Polled::new(begin(&mut service, 1).await);
            let mut dispatched = Polled::new(jobs.dispatch(1));
            if polls > 0 {
                aside.assert_pending();
                dispatched.assert_pending();
            }
            let shutdowns = match polls {
                0 => vec![jobs.cancel_handle().shutdown(secs(5))],
                _ => vec![
                    jobs.cancel_handle().shutdown(secs(5)),
                    handle.shutdown(secs(5)),
                ],
            };
            for (index, shutdown) in shutdowns.into_iter().enumerate() {
                let (counts, took) = awaited(shutdown).await;
                // Of the detached ones there are two.
                assert_eq!((counts.finished, counts.cancelled), (0, 1 + index));
                assert_eq!(took, if index == 0 { secs(5) } else { ms(0) });
            }
            assert!(is_shut_down(dispatched.assert_ready()));
        }
    }
}
