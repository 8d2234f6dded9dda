//! A shutdown while dispatched bodies are read.

use http::Response;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::Layer;
use tower_keep::{CancelLayer, CancelReason, Dispatcher, progress::JobState};
use tower_keep_test::secs;

use super::{
    super::{
        follow::{Step::Data, Steps, get, poll},
        follow_cancel::{Alive, cancelled},
    },
    ONE, assert_idle, client, page, read, state,
};

/// R84 A shutdown waits for a body that is read, and counts its job as finished.
#[tokio::test(start_paused = true)]
async fn waits_for_the_reader() {
    for drops in [false, true] {
        let body = Steps::new([Data("a "), Data("page")]);
        let jobs = Dispatcher::new(page(body)).limit(ONE).http();
        let mut body = jobs.dispatch(get()).await.unwrap().into_body();
        assert!(poll(&mut body).is_ready());
        let shutdown = tokio::spawn(jobs.cancel_handle().shutdown(secs(30)));
        sleep(secs(5)).await;
        assert!(!shutdown.is_finished());
        match drops {
            true => drop(body),
            false => assert_eq!(read(body).await.unwrap(), "page"),
        }
        let start = Instant::now();
        let report = shutdown.await.unwrap();
        assert_eq!(start.elapsed(), secs(0));
        assert_eq!((report.finished, report.cancelled), (1, 0), "{drops}");
        assert_idle(&jobs);
    }
}

/// R84 At the deadline a shutdown cancels the bodies, whether their readers poll or not, and is
/// over at once. A job whose response waits in its handle is one of them.
#[tokio::test(start_paused = true)]
async fn is_bounded() {
    for waits in [false, true] {
        let alive = Alive::default();
        let pages = [1, 1].map(|frames| Response::new(alive.body(frames)));
        let jobs = Dispatcher::new(client(pages)).grace(secs(60)).http();
        let mut body = jobs.dispatch(get()).await.unwrap().into_body();
        let handle = jobs.dispatch(get());
        let job = handle.id();
        assert!(poll(&mut body).is_ready());
        let reader = match waits {
            true => tokio::spawn(read(body)),
            false => tokio::spawn(async move {
                sleep(secs(300)).await;
                read(body).await
            }),
        };
        sleep(secs(1)).await;
        let start = Instant::now();
        let report = jobs.cancel_handle().shutdown(secs(30)).await;
        assert_eq!(start.elapsed(), secs(30));
        assert_eq!((report.finished, report.cancelled), (0, 2));
        assert_eq!(
            state(&jobs, job),
            JobState::Cancelled(CancelReason::Shutdown)
        );
        assert_idle(&jobs);
        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "job cancelled: shutting down");
        let mut body = handle.await.unwrap().into_body();
        assert_eq!(cancelled(poll(&mut body)), "shutting down");
        assert_eq!(alive.count(), 0);
    }
}

/// R84 A shutdown without waiting cancels the bodies, and new jobs are refused.
#[tokio::test(start_paused = true)]
async fn at_once() {
    let alive = Alive::default();
    let jobs = Dispatcher::new(page(alive.body(1))).limit(ONE).http();
    let mut body = jobs.dispatch(get()).await.unwrap().into_body();
    assert_eq!(jobs.cancel_handle().shutdown_now(), 1);
    assert_idle(&jobs);
    assert_eq!(cancelled(poll(&mut body)), "shutting down");
    let refused = jobs.dispatch(get()).await.err().expect("refused");
    assert_eq!(refused.to_string(), "job cancelled: shutting down");
    assert!(jobs.try_dispatch(get()).is_err());
}

/// R84 The dispatcher's token reaches a body that is polled, after the time for running jobs.
#[tokio::test(start_paused = true)]
async fn by_a_token() {
    let (token, alive) = (CancellationToken::new(), Alive::default());
    let jobs = Dispatcher::new(page(alive.body(1)))
        .limit(ONE)
        .shutdown_on(token.clone(), secs(10))
        .http();
    let body = jobs.dispatch(get()).await.unwrap().into_body();
    let reader = tokio::spawn(read(body));
    sleep(secs(1)).await;
    let start = Instant::now();
    token.cancel();
    let error = reader.await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), secs(10));
    assert_eq!(error.to_string(), "job cancelled: shutting down");
    assert_eq!(alive.count(), 0);
    assert_idle(&jobs);
}

/// R84 A detached call in the stack changes nothing: the job is cancellable, and a shutdown waits
/// for its body.
#[tokio::test(start_paused = true)]
async fn with_a_detached_call() {
    for cancels in [false, true] {
        let alive = Alive::default();
        let stack = CancelLayer::new().detached().layer(page(alive.body(1)));
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let mut body = jobs.dispatch(get()).await.unwrap().into_body();
        assert_eq!((jobs.in_flight(), jobs.available()), (1, Some(0)));
        assert_eq!(jobs.cancel_handle().jobs().len(), 1);
        let start = Instant::now();
        if cancels {
            assert_eq!(jobs.cancel_handle().cancel_all("enough"), 1);
            assert_eq!(cancelled(poll(&mut body)), "enough");
        } else {
            let report = jobs.cancel_handle().shutdown(secs(30)).await;
            assert_eq!((report.finished, report.cancelled), (0, 1));
            assert_eq!(start.elapsed(), secs(30));
        }
        assert_idle(&jobs);
    }
}

/// R84 Many readers, a shutdown, and cancellations from several threads: when the shutdown is over,
/// every permit is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_is_over_every_permit_is_free() {
    for round in 0..100_usize {
        let pages = (0..8).map(|_| Response::new(Steps::new([Data("a "), Data("page")])));
        let jobs = Dispatcher::new(client(pages))
            .limit(ONE.saturating_add(7))
            .http();
        let readers: Vec<_> = (0..8)
            .map(|n: usize| {
                let handle = jobs.dispatch(get());
                tokio::spawn(async move {
                    if (n + round) % 4 == 0 {
                        return Ok(());
                    }
                    let response = handle.await?;
                    for _ in 0..(n + round) % 3 {
                        tokio::task::yield_now().await;
                    }
                    read(response.into_body()).await.map(drop)
                })
            })
            .collect();
        let shutdown = jobs.cancel_handle().shutdown(secs(60));
        tokio::time::timeout(secs(30), shutdown)
            .await
            .expect("it is over");
        assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(8)));
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        assert_idle(&jobs);
    }
}
