//! What a resumed body is for its reader, and what it holds.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use static_assertions::assert_impl_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_test::task;
use tower::{Layer, ServiceExt};
use tower_keep::{
    BoxError, GiveUpReason, JobLayer, ResumeLayer, RetryLayer,
    http::resume::{NotResumed, NotResumedReason, ResumedBody},
    retry::{Backoff, Jitter, RetryBudget},
};
use tower_keep_test::secs;

use super::{Answer, CONTENT, Part, Server, download, get, read};

assert_impl_all!(ResumeLayer: Clone, Send, Sync, std::fmt::Debug, Default);
assert_impl_all!(NotResumed: std::error::Error, Send, Sync);
assert_impl_all!(NotResumedReason: Copy, Eq, std::hash::Hash);
assert_impl_all!(ResumedBody<Part, std::cell::Cell<u8>>: Send, Sync, Unpin);

fn layer() -> ResumeLayer {
    ResumeLayer::new()
        .jitter(Jitter::None)
        .backoff(Backoff::constant(secs(1)))
}

fn cut() -> [Answer; 2] {
    [
        Answer::whole(CONTENT).exact(10).cut_after(4),
        Answer::rest(CONTENT, 4).exact(6),
    ]
}

/// R86 The size hint is exact throughout, and the body says when it is at its end.
#[tokio::test(start_paused = true)]
async fn the_size_hint() {
    let server = Server::new(cut());
    let response = layer().layer(server.client()).oneshot(get()).await.unwrap();
    let mut body = response.into_body();
    let mut left = 10;
    while left > 0 {
        assert_eq!(body.size_hint().exact(), Some(left));
        assert!(!body.is_end_stream());
        let frame = body.frame().await.unwrap().unwrap();
        left -= frame.data_ref().unwrap().len() as u64;
    }
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

/// R86 A body that waits does not wake its own task; its timer does.
#[tokio::test(start_paused = true)]
async fn the_wait() {
    let server = Server::new(cut());
    let response = layer().layer(server.client()).oneshot(get()).await.unwrap();
    let mut body = response.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    let mut frame = task::spawn(body.frame());
    assert!(frame.poll().is_pending());
    assert!(!frame.is_woken());
    tokio::time::sleep(secs(1)).await;
    assert!(frame.is_woken());
    assert!(matches!(frame.poll(), Poll::Ready(Some(Ok(_)))));
    drop(frame);
    read(body).await.is("789");
}

/// R86 Without waits, the task yields now and then: a cancellation can end empty answers in a row.
#[tokio::test(start_paused = true)]
async fn many_attempts_without_a_wait() {
    let first = Answer::whole(CONTENT).cut_after(0);
    let empty = (0..100).map(|_| Answer::rest(CONTENT, 0).cut_after(0));
    let server = Server::new([first].into_iter().chain(empty));
    let client = ResumeLayer::new()
        .backoff(Backoff::constant(Duration::ZERO))
        .budget(RetryBudget::default().floor(1000))
        .max_resumptions(100)
        .layer(server.client());
    let mut body = client.oneshot(get()).await.unwrap().into_body();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
    let arrived = server.arrived().len();
    assert!((10..=20).contains(&arrived), "{arrived}");

    let got = read(body).await;
    got.is_not_resumed("", NotResumedReason::GaveUp(GiveUpReason::Exhausted));
    assert_eq!(server.arrived().len(), 101);
}

/// A body that holds a permit.
struct Held(
    Part,
    #[allow(dead_code, reason = "it is held")] OwnedSemaphorePermit,
);

impl Body for Held {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// R86 What the old body holds, such as its connection, is free before the range request.
#[tokio::test(start_paused = true)]
async fn the_old_body_is_dropped_first() {
    let server = Server::new(cut());
    let client = server.client();
    let permits = Arc::new(Semaphore::new(1));
    let one_at_a_time = tower::service_fn(move |request: Request<String>| {
        let (client, permits) = (client.clone(), Arc::clone(&permits));
        async move {
            let permit = permits.acquire_owned().await.unwrap();
            let response = client.oneshot(request).await?;
            Ok::<_, BoxError>(response.map(|body| Held(body, permit)))
        }
    });
    download(layer().layer(one_at_a_time), get())
        .await
        .is_whole();
}

/// A service that counts its instances.
#[derive(Debug)]
struct Counted<S>(S, Arc<AtomicUsize>);

impl<S> Counted<S> {
    fn new(inner: S, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(inner, Arc::clone(count))
    }
}

impl<S: Clone> Clone for Counted<S> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone(), &self.1)
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<S, R> tower::Service<R> for Counted<S>
where
    S: tower::Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// R86 The body keeps a clone of the service until its end, and not longer: also after an error, and
/// not at all if it cannot be resumed.
#[tokio::test(start_paused = true)]
async fn the_service_is_kept_until_the_end() {
    let cannot = Answer::whole(CONTENT).without("etag");
    let changed = Answer::whole(CONTENT).header("etag", "\"v2\"");
    let [first, rest] = cut();
    for (script, during) in [
        (vec![Answer::whole(CONTENT).exact(10)], 1),
        (vec![first.clone(), rest], 1),
        (vec![first, changed], 1),
        (vec![cannot], 0),
    ] {
        let count = Arc::default();
        let server = Server::new(script);
        let client = layer().layer(Counted::new(server.client(), &count));
        let response = client.oneshot(get()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), during);
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        assert_eq!(count.load(Ordering::SeqCst), 0);
        drop(body);
    }
}

/// R86 The range request runs in the job of the call, with the job's attempt number.
#[tokio::test(start_paused = true)]
async fn the_job() {
    let server = Server::new(cut());
    let client = server.client();
    let jobs = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&jobs);
    let inner = tower::service_fn(move |request: Request<String>| {
        let job = tower_keep::Job::current();
        seen.lock().unwrap().push((job.id(), job.attempt()));
        client.clone().oneshot(request)
    });
    let stack = JobLayer::new("download")
        .http()
        .layer(RetryLayer::http().resume().layer(inner));
    // Another job reads the body.
    let response = stack.oneshot(get()).await.unwrap();
    let reader = JobLayer::new("reader").layer(tower::service_fn(|body| async move {
        Ok::<_, BoxError>(read(body).await)
    }));
    reader
        .oneshot(response.into_body())
        .await
        .unwrap()
        .is_whole();
    let jobs = jobs.lock().unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0].0, jobs[1].0);
    assert_eq!((jobs[0].1, jobs[1].1), (1, 2));
}

/// R86 Neither `Debug` nor an error shows the request.
#[tokio::test(start_paused = true)]
async fn secrets() {
    let mut request = get();
    *request.uri_mut() = "http://example.com/file?token=secret".parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", "secret".parse().unwrap());
    let first = Answer::whole(CONTENT)
        .header("etag", "\"secret\"")
        .cut_after(4);
    let server = Server::new([first, Answer::status(416)]);
    let response: Response<_> = layer()
        .layer(server.client())
        .oneshot(request)
        .await
        .unwrap();
    let body = response.into_body();
    let shown = format!("{body:?} {:?}", layer());
    let error = read(body).await.result.unwrap_err();
    let shown = format!("{shown} {error:?} {error}");
    assert!(!shown.contains("secret"), "{shown}");
}
