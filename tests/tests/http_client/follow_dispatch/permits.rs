//! The permit of a job is free once its body has ended, and not before.

use std::time::Duration;

use http::Response;
use proptest::prelude::*;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt};
use tower_keep::{BoxError, Dispatcher};
use tower_keep_test::{Polled, secs};

use super::{
    super::follow::{
        Step::{self, Data, Error, Panics, Pends},
        Steps, get, poll,
    },
    ONE, assert_idle, client, page, read,
};

fn pages(count: usize) -> impl Iterator<Item = Response<Steps>> {
    (0..count).map(|_| Response::new(Steps::new([Data("a "), Data("page")])))
}

/// R84 With a limit of one, the second job starts only after the first one's body, whichever way it
/// waits.
#[tokio::test(start_paused = true)]
async fn the_second_job_waits_for_the_first_body() -> Result<(), BoxError> {
    for by_service in [false, true] {
        for drops in [false, true] {
            let jobs = Dispatcher::new(client(pages(2))).limit(ONE).http();
            let body = jobs.dispatch(get()).await?.into_body();
            assert!(jobs.try_dispatch(get()).is_err());
            assert!(jobs.dispatch(get()).await.is_err());
            let others = jobs.clone();
            let waiting = tokio::spawn(async move {
                let handle = if by_service {
                    let mut service = others.clone();
                    service.ready().await.unwrap().call(get()).await.unwrap()
                } else {
                    others.reserve().await.unwrap().dispatch(get())
                };
                handle.await
            });
            sleep(secs(60)).await;
            assert!(!waiting.is_finished(), "the body is not read");
            match drops {
                true => drop(body),
                false => assert_eq!(read(body).await?, "a page"),
            }
            let second = timeout(secs(1), waiting).await??;
            assert_eq!(jobs.in_flight(), 1);
            assert_eq!(read(second?.into_body()).await?, "a page");
            assert_idle(&jobs);
        }
    }
    Ok(())
}

/// R84 A permit is free at the moment of the body's end, not at the next poll of its task.
#[tokio::test(start_paused = true)]
async fn the_permit_is_free_at_once() -> Result<(), BoxError> {
    let jobs = Dispatcher::new(client(pages(1))).limit(ONE).http();
    let mut body = jobs.dispatch(get()).await?.into_body();
    let mut waits = Polled::new(Box::pin(jobs.reserve()));
    waits.assert_pending();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_ready());
    waits.assert_waiting();
    assert!(poll(&mut body).is_ready());
    waits.assert_woken();
    drop(waits.assert_ready()?);
    assert_idle(&jobs);
    Ok(())
}

/// R84 Clones of the dispatcher share the limit until the body's end.
#[tokio::test(start_paused = true)]
async fn clones_share_it() -> Result<(), BoxError> {
    let jobs = Dispatcher::new(client(pages(2))).limit(ONE).http();
    let clone = jobs.clone();
    let response = clone.dispatch(get()).await?;
    drop(clone);
    assert_eq!((jobs.in_flight(), jobs.available()), (1, Some(0)));
    drop(response);
    assert_idle(&jobs);
    Ok(())
}

/// R84 A body that outlives its dispatcher is read as any other.
#[tokio::test(start_paused = true)]
async fn a_body_outlives_the_dispatcher() -> Result<(), BoxError> {
    let jobs = Dispatcher::new(page(Steps::new([Data("a page")])));
    let jobs = jobs.limit(ONE).http();
    let board = jobs.progress_handle();
    let response = jobs.dispatch(get()).await?;
    drop(jobs);
    assert_eq!(board.jobs().len(), 1);
    assert_eq!(read(response.into_body()).await?, "a page");
    assert!(board.jobs().is_empty());
    Ok(())
}

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Read(usize),
    CancelledAfter(usize),
    HandleDropped,
    CancelOnDrop,
    Kept,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0..4_usize).prop_map(Fate::Read),
        (0..4_usize).prop_map(Fate::CancelledAfter),
        Just(Fate::HandleDropped),
        Just(Fate::CancelOnDrop),
        Just(Fate::Kept),
    ]
}

fn steps(of: u8) -> Vec<Step> {
    match of {
        0 => vec![],
        1 => vec![Data("a "), Data("page")],
        2 => vec![Data("a "), Pends, Data("page")],
        3 => vec![Data("a "), Error(std::io::ErrorKind::ConnectionReset)],
        4 => vec![Data("a "), Panics],
        _ => vec![Pends, Pends, Pends, Pends],
    }
}

/// Reads a body with this many polls. A panic of the body ends it.
fn polls(body: &mut (impl hyper::body::Body + Unpin), count: usize) {
    for _ in 0..count {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = poll(body);
        }));
        if polled.is_err() {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// R84 Whatever happens to the calls, each one gives its permit back, and the limit holds.
    #[test]
    fn each_permit_comes_back(calls in proptest::collection::vec((0..6_u8, fate(), 0..3_u64), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let bodies = calls.iter().map(|(of, ..)| Response::new(Steps::new(steps(*of))));
            let jobs = Dispatcher::new(client(bodies)).limit(super::ONE.saturating_add(1)).http();
            let mut kept = Vec::new();
            for (_, fate, pause) in &calls {
                if jobs.available() == Some(0) {
                    kept.clear();
                }
                let permit = jobs.reserve().await.unwrap();
                let mut handle = permit.dispatch(get());
                let job = handle.id();
                sleep(Duration::from_millis(*pause)).await;
                assert!(jobs.in_flight() <= 2);
                match fate {
                    Fate::HandleDropped => drop(handle),
                    Fate::CancelOnDrop => drop(handle.cancel_on_drop()),
                    Fate::Read(count) => {
                        let mut body = (&mut handle).await.unwrap().into_body();
                        polls(&mut body, *count);
                    }
                    Fate::CancelledAfter(count) => {
                        let mut body = (&mut handle).await.unwrap().into_body();
                        polls(&mut body, *count);
                        handle.cancel();
                        assert!(jobs.jobs().iter().all(|view| view.job != job));
                        polls(&mut body, 1);
                        kept.push(body);
                    }
                    Fate::Kept => kept.push(handle.await.unwrap().into_body()),
                }
            }
            drop(kept);
            sleep(Duration::from_secs(1)).await;
            assert_idle(&jobs);
            assert_eq!(jobs.available(), Some(2));
        });
    }
}
