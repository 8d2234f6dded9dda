//! The body and its job: neither keeps the other.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, DedupLayer, Dispatcher, EventKind, FailureCause, ProgressLayer, Report,
    http::upload::UploadBody, progress::JobState,
};
use tower_keep_test::ms;
use tower_keep_tests::{panics, recording};

use super::{FRAME, amounts, no_content, put, read, whole};

/// A body that says when it was dropped.
struct Tracked(
    Full<Bytes>,
    #[allow(dead_code, reason = "it is counted")] Arc<()>,
);

impl Body for Tracked {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.size_hint()
    }
}

/// R87 A call that is dropped before its body is polled, or in the middle of it, is shown as
/// cancelled. It leaves nothing on the board, and the body is dropped with it.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_nothing() {
    for (waits, expected) in [(0, vec![]), (250, vec![0, 2 * FRAME as u64])] {
        let (outer, recorder) = recording();
        let progress = ProgressLayer::http().uploads();
        let board = progress.handle();
        let client = ServiceBuilder::new()
            .layer(progress)
            .layer(outer)
            .service(service_fn(
                |request: Request<UploadBody<Tracked>>| async move {
                    tokio::time::sleep(ms(10)).await;
                    read(request.into_body(), 100).await?;
                    Ok::<_, BoxError>(no_content())
                },
            ));
        let alive = Arc::new(());
        let body = Tracked(whole(9 * FRAME), Arc::clone(&alive));
        let call = tokio::time::timeout(ms(waits), client.oneshot(put(body)));
        assert!(call.await.is_err());
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_eq!(amounts(&recorder), expected);
        assert!(board.jobs().is_empty());
        assert!(matches!(board.history()[0].state, JobState::Cancelled(_)));
        recorder.assert_one_terminal_each();
    }
}

/// R87 A transport that keeps the body does not keep the job: the board is empty, its readers end,
/// and the rest of the body is sent without a report.
#[tokio::test(start_paused = true)]
async fn a_body_does_not_keep_its_job() {
    for begins in [true, false] {
        let (outer, recorder) = recording();
        let progress = ProgressLayer::http().uploads();
        let board = progress.handle();
        let (_, mut changes) = board.changes();
        let held = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&held);
        let client = ServiceBuilder::new()
            .layer(progress)
            .layer(outer)
            .service(service_fn(
                move |request: Request<UploadBody<Full<Bytes>>>| {
                    let keep = Arc::clone(&keep);
                    async move {
                        let mut upload = request.into_body();
                        if begins {
                            upload.frame().await.unwrap()?;
                        }
                        *keep.lock().unwrap() = Some(upload);
                        Err::<Response<Full<Bytes>>, BoxError>("the connection broke".into())
                    }
                },
            ));
        client.oneshot(put(whole(3 * FRAME))).await.unwrap_err();
        let upload = held.lock().unwrap().take().unwrap();
        let before = recorder.events().len();
        assert!(board.jobs().is_empty());
        drop(board);
        // The stream of changes ends although the body is still there.
        while changes.next().await.is_some() {}
        let rest = read(upload, 100).await.unwrap().concat();
        assert_eq!(rest.len(), if begins { 2 } else { 3 } * FRAME);
        assert_eq!(recorder.events().len(), before);
        recorder.assert_one_terminal_each();
    }
}

/// A body that breaks at its second frame.
#[derive(Clone)]
struct Breaks(u32);

impl Body for Breaks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0 += 1;
        assert!(self.0 < 2, "the body broke");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"0123456789")))))
    }
}

/// R87 A panic in the body ends the job as a panic of its code. The layer goes on to work.
#[tokio::test(start_paused = true)]
async fn a_body_that_panics() {
    let progress = ProgressLayer::http().uploads();
    let board = progress.handle();
    let client = progress.layer(service_fn(|request: Request<UploadBody<_>>| async move {
        read::<UploadBody<Breaks>>(request.into_body(), 100).await?;
        Ok::<_, BoxError>(no_content())
    }));
    for calls in 1..=2 {
        assert!(panics(client.clone().oneshot(put(Breaks(0)))).await);
        assert!(board.jobs().is_empty());
        assert_eq!(board.history().len(), calls);
        let last = &board.history()[calls - 1];
        assert_eq!(last.state, JobState::Failed(FailureCause::Panicked));
        assert_eq!(last.report, Report::bytes(0, None));
    }
    // Polled again, it is as the body is.
    let mut body = Box::pin(board_free_body().await);
    assert!(panics(body.frame()).await);
    assert!(panics(body.frame()).await);
}

/// A wrapped body whose first frame was sent, and whose job is over.
async fn board_free_body() -> UploadBody<Breaks> {
    let held = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&held);
    let client = ProgressLayer::http().uploads().layer(service_fn(
        move |request: Request<UploadBody<Breaks>>| {
            let mut body = request.into_body();
            let keep = Arc::clone(&keep);
            async move {
                body.frame().await.unwrap()?;
                *keep.lock().unwrap() = Some(body);
                Ok::<_, BoxError>(no_content())
            }
        },
    ));
    client.oneshot(put(Breaks(0))).await.unwrap();
    let body = held.lock().unwrap().take();
    body.unwrap()
}

/// R87 Under a dispatcher, the upload is shown on its board.
#[tokio::test(start_paused = true)]
async fn under_a_dispatcher() {
    let jobs = Dispatcher::new(
        ServiceBuilder::new()
            .layer(ProgressLayer::http().uploads())
            .service(service_fn(
                |request: Request<UploadBody<Full<Bytes>>>| async move {
                    read(request.into_body(), 100).await?;
                    Ok::<_, BoxError>(no_content())
                },
            )),
    );
    let board = jobs.progress_handle();
    let job = jobs.dispatch(put(whole(9 * FRAME)));
    let call = tokio::spawn(async move { job.await.map(|_| ()) });
    tokio::time::sleep(ms(450)).await;
    let total = Some(9 * FRAME as u64);
    assert_eq!(
        board.jobs()[0].report,
        Report::bytes(4 * FRAME as u64, total)
    );
    assert!(call.await.unwrap().is_ok());
    assert_eq!(
        board.history()[0].report,
        Report::bytes(9 * FRAME as u64, total)
    );
}

/// R87 A job that joins the upload of another shows its bytes.
#[tokio::test(start_paused = true)]
async fn a_joined_job_shows_the_bytes() {
    type Sent = Request<UploadBody<Full<Bytes>>>;

    let progress = ProgressLayer::http().uploads();
    let board = progress.handle();
    let client = ServiceBuilder::new()
        .layer(progress)
        .layer(DedupLayer::new(|_: &Sent| Some("file")).join())
        .service(service_fn(|request: Sent| async move {
            read(request.into_body(), 100).await?;
            Ok::<_, BoxError>(no_content())
        }));
    let calls = [(); 2].map(|()| tokio::spawn(client.clone().oneshot(put(whole(9 * FRAME)))));
    tokio::time::sleep(ms(450)).await;
    let total = Some(9 * FRAME as u64);
    let states: Vec<_> = board
        .jobs()
        .into_iter()
        .map(|view| (view.state, view.report))
        .collect();
    let report = Report::bytes(4 * FRAME as u64, total);
    assert_eq!(
        states,
        [
            (JobState::Running, report.clone()),
            (JobState::Joined, report)
        ]
    );
    for call in calls {
        call.await.unwrap().unwrap();
    }
    for view in board.history() {
        assert_eq!(view.report, Report::bytes(9 * FRAME as u64, total));
    }
}

/// R87 A user's code that reports too is not disturbed: the last report is shown.
#[tokio::test(start_paused = true)]
async fn the_code_of_the_job_may_report() {
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .service(service_fn(
            |request: Request<UploadBody<Full<Bytes>>>| async move {
                read(request.into_body(), 100).await?;
                tower_keep::Job::current().progress(Report::items(1, Some(2)));
                Ok::<_, BoxError>(no_content())
            },
        ));
    client.oneshot(put(whole(2 * FRAME))).await.unwrap();
    let kinds = recorder.kinds();
    let last = kinds
        .iter()
        .rfind(|kind| matches!(kind, EventKind::Progress(_)));
    assert_eq!(last, Some(&EventKind::Progress(Report::items(1, Some(2)))));
}
