//! Uploads on real connections that end in another way.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, ProgressLayer, Report, SendThrough, http::upload::UploadBody, progress::JobState,
};
use tower_keep_test::http::{Origin, Reply};
use tower_keep_tests::{recording, servers::bounded};

use super::{
    super::origin::clients,
    FRAME, data,
    over_the_wire::{VERSIONS, hyper},
    reports, whole,
};

/// R87 An early response on the wire: from its head on, its bytes are shown, and the upload that
/// goes on arrives whole.
#[tokio::test]
async fn an_early_response_takes_over() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::start().await.unwrap();
            let origin = origin.then(Reply::status(200).body("page").early());
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            let receiver = std::sync::Mutex::new(receiver);
            let chunks = futures::stream::poll_fn(move |cx| receiver.lock().unwrap().poll_recv(cx));
            let (outer, recorder) = recording();
            let client = clients::reqwest(version);
            let api = ServiceBuilder::new()
                .layer(ProgressLayer::http())
                .layer(outer)
                .service(client.clone());
            let body = reqwest::Body::wrap_stream(chunks);
            sender.send(Ok::<_, BoxError>(data(FRAME))).await.unwrap();
            let response = client
                .put(origin.url("/"))
                .body(body)
                .send_through(&api)
                .await
                .unwrap();
            let at_head = reports(&recorder);
            assert_eq!(at_head.last(), Some(&Report::bytes(0, Some(4))));
            for _ in 0..3 {
                sender.send(Ok(data(FRAME))).await.unwrap();
            }
            drop(sender);
            origin.until(|all| all[0].complete).await;
            assert_eq!(reports(&recorder), at_head);
            assert_eq!(origin.received()[0].body.len(), 4 * FRAME);
            assert_eq!(response.text().await.unwrap(), "page");
            assert_eq!(reports(&recorder).last(), Some(&Report::bytes(4, Some(4))));
            recorder.assert_one_terminal_each();
        }
    })
    .await;
}

/// R87 A call that is dropped in the middle of its upload reports nothing afterwards, and the body
/// is dropped too.
#[tokio::test]
async fn a_dropped_call_ends_its_upload() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::start().await.unwrap().then(Reply::status(204));
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            let receiver = std::sync::Mutex::new(receiver);
            let chunks = futures::stream::poll_fn(move |cx| receiver.lock().unwrap().poll_recv(cx));
            let progress = ProgressLayer::http();
            let board = progress.handle();
            let client = clients::reqwest(version);
            let api = progress.layer(client.clone());
            let body = reqwest::Body::wrap_stream(chunks);
            sender.send(Ok::<_, BoxError>(data(FRAME))).await.unwrap();
            let request = client.put(origin.url("/")).body(body);
            let call = tokio::spawn(async move { request.send_through(&api).await });
            origin
                .until(|all| all.first().is_some_and(|first| first.body.len() == FRAME))
                .await;
            call.abort();
            // The transport drops the body.
            sender.closed().await;
            assert!(call.await.unwrap_err().is_cancelled());
            assert!(board.jobs().is_empty());
            assert!(matches!(board.history()[0].state, JobState::Cancelled(_)));
        }
    })
    .await;
}

/// R87 A body that panics in the task of the connection ends its call with an error, and the next
/// call works. With HTTP/2, hyper leaves the stream open after such a panic, until a limit expires.
#[tokio::test]
async fn a_panic_in_the_task_of_the_connection() {
    type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

    bounded(async {
        let origin = Origin::start().await.unwrap().times(2, &Reply::status(204));
        let progress = ProgressLayer::http().uploads();
        let board = progress.handle();
        let api = progress.layer(hyper::<UploadBody<Boxed>>(Version::HTTP_11));
        let put = |body: Boxed| Request::put(origin.url("/")).body(body).unwrap();
        let mut sent = 0;
        let panics = StreamBody::new(futures::stream::poll_fn(move |_| {
            sent += 1;
            assert!(sent < 2, "the body broke");
            std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data")))))
        }));
        assert!(
            api.clone()
                .oneshot(put(panics.boxed_unsync()))
                .await
                .is_err()
        );
        assert!(board.jobs().is_empty());
        assert!(matches!(board.history()[0].state, JobState::Failed(_)));
        api.oneshot(put(whole(100).boxed_unsync())).await.unwrap();
        let last = board.history().pop().unwrap();
        assert_eq!(last.report, Report::bytes(100, Some(100)));
    })
    .await;
}
