//! Callers that leave, fail, panic or are cancelled.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame};
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Rejection, TimeoutLayer, cancel::Cancelled,
    dedup::Duplicate, find,
};
use tower_keep_test::{Polled, secs};
use tower_keep_tests::begin;

use super::{Site, Step, Steps, answer, get, text};

/// A body that waits once before each of its frames and before its end.
struct Slow {
    frames: Vec<&'static str>,
    waited: bool,
    _alive: Arc<()>,
}

impl Body for Slow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        let frame = self.frames.pop();
        Poll::Ready(frame.map(|frame| Ok(Frame::data(Bytes::from(frame)))))
    }
}

/// A server that waits twice before the head. It counts what is alive of its answers and calls.
fn slow(
    site: &Site,
    alive: &Arc<()>,
    cache_control: &'static str,
) -> impl Service<Request<String>, Response = Response<Slow>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let (site, alive) = (site.clone(), Arc::clone(alive));
    service_fn(move |_: Request<String>| {
        let alive = Arc::clone(&alive);
        site.exchanges
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let body = Slow {
                frames: vec!["page", "a "],
                waited: false,
                _alive: alive,
            };
            Ok::<_, BoxError>(answer(200, &[("cache-control", cache_control)]).body(body)?)
        }
    })
}

/// R88 The leader leaves at each of its awaits. A follower gets the answer, shared or not, and
/// nothing is left of the exchange.
#[tokio::test]
async fn the_leader_leaves_at_each_await() {
    for cache_control in ["public", "private"] {
        let mut leaver_done = false;
        for polls in 0.. {
            let (site, alive) = (Site::default(), Arc::new(()));
            let dedup = DedupLayer::http_get();
            let mut client = dedup.layer(slow(&site, &alive, cache_control));
            let mut leader = Polled::new(begin(&mut client, get("/")).await);
            let follower = begin(&mut client, get("/")).await;
            for _ in 0..polls {
                if leader.poll().is_ready() {
                    leaver_done = true;
                    break;
                }
            }
            if leaver_done {
                break;
            }
            drop(leader);
            assert_eq!(text(follower.await.unwrap()).await, "a page");
            assert_eq!(site.exchanges(), 1, "{cache_control} {polls}");
            assert_eq!(dedup.in_flight(), 0);
            drop(client);
            assert_eq!(Arc::strong_count(&alive), 1, "{cache_control} {polls}");
        }
    }
}

/// R88 A follower leaves, polled or not, and the leader gets the answer.
#[tokio::test]
async fn a_follower_leaves_at_each_await() {
    for cache_control in ["public", "private"] {
        for polls in 0..6 {
            let (site, alive) = (Site::default(), Arc::new(()));
            let mut client = DedupLayer::http_get().layer(slow(&site, &alive, cache_control));
            let leader = begin(&mut client, get("/")).await;
            let mut follower = Polled::new(begin(&mut client, get("/")).await);
            let mut done = false;
            for _ in 0..polls {
                done = done || follower.poll().is_ready();
            }
            drop(follower);
            assert_eq!(text(leader.await.unwrap()).await, "a page");
            // A follower that got a private answer has it, even if it then leaves.
            let exchanges = 1 + usize::from(done && cache_control == "private");
            assert_eq!(site.exchanges(), exchanges, "{cache_control} {polls}");
        }
    }
}

/// R88 If all callers leave, the exchange stops, and its key is free.
#[tokio::test]
async fn all_leave() {
    for polls in 0..6 {
        let (site, alive) = (Site::default(), Arc::new(()));
        let dedup = DedupLayer::http_get();
        let mut client = dedup.layer(slow(&site, &alive, "public"));
        let mut calls = [
            Polled::new(begin(&mut client, get("/")).await),
            Polled::new(begin(&mut client, get("/")).await),
        ];
        let mut done = false;
        for poll in 0..polls {
            done |= calls[poll % 2].poll().is_ready();
        }
        assert!(done || dedup.in_flight() == 1, "{polls}");
        drop(calls);
        assert_eq!(dedup.in_flight(), 0, "{polls}");
        drop(client);
        assert_eq!(Arc::strong_count(&alive), 1, "{polls}");
    }
}

/// R88 A caller that leaves while it sends its own request ends that request only.
#[tokio::test(start_paused = true)]
async fn a_caller_leaves_its_own_request() {
    let site = Site::default();
    let mut client =
        DedupLayer::http_get().layer(site.numbered(200, &[("cache-control", "private")]));
    let one = begin(&mut client, get("/")).await;
    let mut other = Polled::new(begin(&mut client, get("/")).await);
    let third = begin(&mut client, get("/")).await;
    assert_eq!(text(one.await.unwrap()).await, "0");
    other.assert_pending();
    assert_eq!(site.exchanges(), 2);
    drop(other);
    assert_eq!(text(third.await.unwrap()).await, "2");
}

/// R88 A caller that is set aside keeps nobody from an answer. Later it gets its own.
#[tokio::test(start_paused = true)]
async fn a_caller_is_set_aside() {
    for (cache_control, later) in [("public", "0"), ("private", "1")] {
        for polled_before in [false, true] {
            let site = Site::default();
            let mut client = DedupLayer::http_get().layer(site.client(move |number, _| {
                answer(200, &[("cache-control", cache_control)])
                    .body(number.to_string())
                    .unwrap()
            }));
            let mut aside = Polled::new(begin(&mut client, get("/")).await);
            if polled_before {
                aside.assert_pending();
            }
            let follower = begin(&mut client, get("/")).await;
            assert_eq!(text(follower.await.unwrap()).await, "0");
            tokio::time::sleep(secs(60)).await;
            let answered = async { aside.await.unwrap() };
            assert_eq!(text(answered.await).await, later, "{cache_control}");
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no route")]
struct NoRoute;

/// R88 All callers get the one error, with its cause. A lone caller gets the error itself.
#[tokio::test(start_paused = true)]
async fn an_error_before_the_head_is_shared() {
    let site = Site::default();
    let inner = site.numbered(200, &[]);
    let failing = ServiceBuilder::new()
        .and_then(|_: Response<String>| async { Err::<Response<String>, BoxError>(NoRoute.into()) })
        .service(inner);
    let mut client = DedupLayer::http_get().layer(failing);
    let calls = [
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    ];
    for result in futures::future::join_all(calls).await {
        let error = result.unwrap_err();
        assert!(find::<NoRoute>(&*error).is_some());
        assert_eq!(error.to_string(), "no route");
    }
    assert_eq!(site.exchanges(), 1);
    let alone = begin(&mut client, get("/")).await.await.unwrap_err();
    assert!(alone.downcast_ref::<NoRoute>().is_some());
}

/// R88 A body that fails while it is collected fails all its callers.
#[tokio::test(start_paused = true)]
async fn an_error_of_a_shared_body_is_shared() {
    let site = Site::default();
    let mut client = DedupLayer::http_get().layer(site.client(|_, _| {
        Response::new(Steps::new([
            Step::Data("half a "),
            Step::Error(io::ErrorKind::UnexpectedEof),
        ]))
    }));
    let calls = [
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    ];
    for result in futures::future::join_all(calls).await {
        let error = result.map(drop).unwrap_err();
        let cause = find::<io::Error>(&*error).unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::UnexpectedEof);
    }
    assert_eq!(site.exchanges(), 1);
}

/// R88 A limit inside ends the collection for all, and is recognized.
#[tokio::test(start_paused = true)]
async fn a_limit_inside_includes_the_collection() {
    let inner = service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(Response::new(
            super::super::follow_cancel::Alive::default().body(1),
        ))
    });
    let mut client = ServiceBuilder::new()
        .layer(DedupLayer::http_get())
        .layer(TimeoutLayer::http(secs(5)))
        .service(inner);
    let calls = [
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    ];
    let start = tokio::time::Instant::now();
    for result in futures::future::join_all(calls).await {
        let error = result.map(drop).unwrap_err();
        assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
    }
    assert_eq!(start.elapsed(), secs(5));
}

/// R88 A limit outside ends the wait of its own caller. The exchange goes on for the others.
#[tokio::test(start_paused = true)]
async fn a_limit_outside_ends_its_own_wait() {
    let site = Site::default();
    let client = DedupLayer::http_get().layer(site.numbered(200, &[]));
    let mut hurried = TimeoutLayer::http(secs(1) / 2).layer(client.clone());
    let mut patient = TimeoutLayer::http(secs(9)).layer(client);
    let (leader, follower) = (
        begin(&mut hurried, get("/")).await,
        begin(&mut patient, get("/")).await,
    );
    let (leader, follower) = tokio::join!(leader, follower);
    let error = leader.map(drop).unwrap_err();
    assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
    assert_eq!(text(follower.unwrap()).await, "0");
    assert_eq!(site.exchanges(), 1);
}

/// R88 A panic of the exchange, before the head or in a body that is collected, reaches its callers
/// as a `Duplicate`. A body of one caller panics for its reader.
#[tokio::test(start_paused = true)]
async fn a_panic_is_shared() {
    for in_body in [false, true] {
        let site = Site::default();
        let dedup = DedupLayer::http_get();
        let mut client = dedup.layer(site.client(move |_, _| {
            assert!(in_body, "the head broke");
            Response::new(Steps::new([Step::Data("a "), Step::Panics]))
        }));
        let calls = [
            begin(&mut client, get("/")).await,
            begin(&mut client, get("/")).await,
        ];
        for result in futures::future::join_all(calls).await {
            let error = result.map(drop).unwrap_err();
            let duplicate = find::<Duplicate>(&*error).unwrap();
            assert!(duplicate.execution_panicked());
            let message = duplicate.panic_message().unwrap();
            assert_eq!(
                message,
                if in_body {
                    "the body broke"
                } else {
                    "the head broke"
                }
            );
        }
        assert_eq!(dedup.in_flight(), 0);
    }
}

/// R88 A cancelled caller leaves at once, the leader too, and the others get the answer. So it is
/// while a caller sends its own request.
#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_leaves() {
    for cache_control in ["public", "private"] {
        let site = Site::default();
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let mut client = ServiceBuilder::new()
            .layer(cancel)
            .layer(DedupLayer::http_get())
            .service(site.client(move |number, _| {
                answer(200, &[("cache-control", cache_control)])
                    .body(number.to_string())
                    .unwrap()
            }));
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(tokio::spawn(begin(&mut client, get("/")).await));
        }
        tokio::time::sleep(secs(1) / 2).await;
        let jobs: Vec<_> = handle.jobs().iter().map(|job| job.job).collect();
        assert_eq!(jobs.len(), 3);
        assert!(handle.cancel(jobs[0]));
        let error = calls.remove(0).await.unwrap().map(drop).unwrap_err();
        assert!(find::<Cancelled>(&*error).is_some());

        tokio::time::sleep(secs(1)).await;
        // One of the others has the answer. Unless it was shared, the last one sends its own request.
        let mut cancelled = 0;
        for (job, call) in jobs[1..].iter().zip(&calls) {
            if !call.is_finished() {
                assert!(handle.cancel(*job));
                cancelled += 1;
            }
        }
        assert_eq!(cancelled, usize::from(cache_control == "private"));
        for call in calls {
            match call.await.unwrap() {
                Ok(response) => assert_eq!(text(response).await, "0"),
                Err(error) => {
                    assert!(find::<Cancelled>(&*error).is_some());
                    cancelled -= 1;
                }
            }
        }
        assert_eq!(cancelled, 0);
        assert_eq!(
            site.exchanges(),
            1 + usize::from(cache_control == "private")
        );
    }
}
