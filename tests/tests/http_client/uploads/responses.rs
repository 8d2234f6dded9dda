//! The response takes the place of the upload.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, ProgressLayer, Report, http::upload::UploadBody, progress::JobState};
use tower_keep_test::ms;
use tower_keep_tests::recording;

use super::{FRAME, answer, frames, put, read, reports, whole};

/// R87 After the upload, the bytes of the response are shown, and rate and time left are theirs.
#[tokio::test(start_paused = true)]
async fn the_response_follows_the_upload() {
    let progress = ProgressLayer::http().uploads();
    let board = progress.handle();
    let client = progress.layer(service_fn(
        |request: Request<UploadBody<Full<Bytes>>>| async move {
            read(request.into_body(), 500).await?;
            let mut response = Response::new(frames(100, 1000));
            response.headers_mut().insert("content-length", 1000.into());
            Ok::<_, BoxError>(response)
        },
    ));
    let length = 40 * FRAME as u64;
    let call = tokio::spawn(client.oneshot(put(whole(40 * FRAME))));
    tokio::time::sleep(ms(10_001)).await;
    let view = &board.jobs()[0];
    assert_eq!(view.report, Report::bytes(20 * FRAME as u64, Some(length)));
    // The first frame came with the first report, and counts as a little more than its share.
    let frames = view.rate.unwrap() / FRAME as f64;
    assert!((2.0..2.1).contains(&frames), "{frames}");
    assert_eq!(
        view.time_left.map(|left| left.as_secs_f64().round()),
        Some(10.0)
    );

    let mut body = Box::pin(call.await.unwrap().unwrap().into_body());
    let view = &board.jobs()[0];
    assert_eq!(view.report, Report::bytes(0, Some(1000)));
    assert_eq!((view.rate, view.time_left), (None, None));
    for _ in 0..10 {
        body.frame().await.unwrap().unwrap();
    }
    let view = &board.jobs()[0];
    assert_eq!(view.report, Report::bytes(100, Some(1000)));
    assert_eq!(view.rate.map(f64::round), Some(10.0));
    assert_eq!(
        view.time_left.map(|left| left.as_secs_f64().round()),
        Some(90.0)
    );
    drop(body);
    assert_eq!(board.history()[0].state, JobState::Succeeded);
}

/// R87 From the head of an early response on, the upload that goes on reports nothing. Without a
/// body, the response leaves the last report of the upload.
#[tokio::test(start_paused = true)]
async fn an_early_response_ends_the_reports_of_the_upload() {
    for (status, body, expected) in [
        (StatusCode::OK, "page", Some(Report::bytes(4, Some(4)))),
        (StatusCode::OK, "", None),
        (StatusCode::NO_CONTENT, "", None),
    ] {
        // Polled before the head, or only after it.
        for begins in [true, false] {
            let (outer, recorder) = recording();
            let held = Arc::new(Mutex::new(None));
            let keep = Arc::clone(&held);
            let client = ServiceBuilder::new()
                .layer(ProgressLayer::http().uploads())
                .layer(outer)
                .service(service_fn(
                    move |request: Request<UploadBody<Full<Bytes>>>| {
                        let keep = Arc::clone(&keep);
                        async move {
                            let mut upload = request.into_body();
                            if begins {
                                for _ in 0..3 {
                                    tokio::time::sleep(ms(100)).await;
                                    upload.frame().await.unwrap()?;
                                }
                            }
                            *keep.lock().unwrap() = Some(upload);
                            Ok::<_, BoxError>(answer(status, body))
                        }
                    },
                ));
            let response = client.oneshot(put(whole(9 * FRAME))).await.unwrap();
            let at_head = reports(&recorder);
            let upload = held.lock().unwrap().take().unwrap();
            let rest = read(upload, 100).await.unwrap().concat();
            assert_eq!(rest.len(), if begins { 6 } else { 9 } * FRAME);
            assert_eq!(reports(&recorder), at_head);
            response.into_body().collect().await.unwrap();
            let last = reports(&recorder).pop();
            let uploaded = begins.then(|| Report::bytes(3 * FRAME as u64, Some(9 * FRAME as u64)));
            assert_eq!(last, expected.clone().or(uploaded));
            recorder.assert_one_terminal_each();
        }
    }
}
