//! Events of resumptions, and how their jobs end.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::Instant};
use tower::{Layer, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer};
use tower_keep::{
    CancelLayer, CancelReason, EventKind, GiveUpReason, LogLayer, Rejection, RetryLayer,
    http::resume::NotResumedReason,
    retry::{Backoff, Jitter},
};
use tower_keep_test::{Recorder, secs};

use super::{
    Answer, CONTENT, Server,
    attempts::{first, layer, nothing, rest},
    download, get, read,
};

/// R86 Each resumption is an event, and raises the attempt number of the job. The log shows both.
#[tokio::test(start_paused = true)]
async fn events() {
    for retries in [false, true] {
        let recorder = Recorder::new();
        let server = Server::new([
            first(),
            Answer::status(503),
            rest().cut_after(2),
            Answer::rest(CONTENT, 6),
        ]);
        let log = LogLayer::http_to(recorder.clone());
        let got = match retries {
            true => {
                let retry = RetryLayer::http()
                    .resume()
                    .jitter(Jitter::None)
                    .base_delay(secs(1));
                download(log.layer(retry.layer(server.client())), get()).await
            }
            false => download(log.layer(layer().layer(server.client())), get()).await,
        };
        got.is_whole();
        let events = recorder.events_of(recorder.job());
        let told: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::AttemptEnded {
                    attempt, outcome, ..
                } => Some(format!("{attempt} {outcome}")),
                EventKind::RetryScheduled {
                    attempt,
                    delay,
                    error,
                    ..
                } => Some(format!("{attempt} then {delay:?}: {error}")),
                EventKind::Retrying { attempt, .. } => Some(format!("retrying {attempt}")),
                EventKind::Succeeded => Some("succeeded".to_owned()),
                EventKind::Dispatched | EventKind::Started => None,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            told,
            [
                "1 failed: an error",
                "1 then 1s: unexpected end of file",
                "retrying 2",
                "2 failed: an error",
                "2 then 2s: the server answered 503",
                "retrying 3",
                "3 failed: an error",
                "3 then 1s: unexpected end of file",
                "retrying 4",
                "4 succeeded",
                "succeeded",
            ]
        );
        let last = events.last().unwrap();
        let http = last.http.as_ref().unwrap();
        assert_eq!(
            (last.attempt, http.status.map(|status| status.as_u16())),
            (4, Some(206))
        );
        assert_eq!(http.body.map(|body| body.name()), Some("complete"));
    }
}

/// R86 If a body is not resumed, the job fails, and says why.
#[tokio::test(start_paused = true)]
async fn a_failed_job() {
    let recorder = Recorder::new();
    let server = Server::new([first(), Answer::whole(CONTENT)]);
    let stack = LogLayer::http_to(recorder.clone()).layer(layer().layer(server.client()));
    let got = download(stack, get()).await;
    got.is_not_resumed(&CONTENT[..4], NotResumedReason::RangeIgnored);
    let events = recorder.events_of(recorder.job());
    let ends: Vec<_> = events
        .iter()
        .filter(|event| event.kind.is_terminal())
        .collect();
    assert_eq!(ends.len(), 1);
    let EventKind::Failed { error, .. } = &ends[0].kind else {
        panic!("{:?}", ends[0])
    };
    assert_eq!(
        &**error,
        "the response body broke off after 4 bytes and was not resumed: the server ignores ranges: \
         unexpected end of file"
    );

    let recorder = Recorder::new();
    let server = Server::new([first(), nothing()]);
    let stack = LogLayer::http_to(recorder.clone())
        .layer(layer().max_resumptions(1).layer(server.client()));
    download(stack, get()).await.result.unwrap_err();
    let events = recorder.events_of(recorder.job());
    let gave_up = events.iter().filter(|event| {
        matches!(
            event.kind,
            EventKind::RetryGivenUp {
                attempt: 2,
                max_retries: 1,
                reason: GiveUpReason::Exhausted,
                ..
            }
        )
    });
    assert_eq!(gave_up.count(), 1);
}

/// R86 A cancellation during the wait ends the body at once; no range request follows.
#[tokio::test(start_paused = true)]
async fn a_cancellation_during_the_wait() {
    for retries in [false, true] {
        let server = Server::new([first()]);
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let start = Instant::now();
        let reading = async {
            match retries {
                true => {
                    let retry = RetryLayer::http()
                        .resume()
                        .jitter(Jitter::None)
                        .base_delay(secs(9));
                    download(cancel.layer(retry.layer(server.client())), get()).await
                }
                false => {
                    let resume = layer().backoff(Backoff::constant(secs(9)));
                    download(cancel.layer(resume.layer(server.client())), get()).await
                }
            }
        };
        let (got, ()) = tokio::join!(reading, async {
            tokio::time::sleep(secs(2)).await;
            assert_eq!(handle.cancel_all(CancelReason::Shutdown), 1);
        });
        assert_eq!(start.elapsed(), secs(2));
        assert_eq!(got.text, CONTENT[..4]);
        assert_eq!(
            Rejection::of(&*got.result.unwrap_err()),
            Some(Rejection::Cancelled)
        );
        tokio::time::sleep(secs(60)).await;
        assert_eq!(server.arrived().len(), 1);
    }
}

/// R86 A layer outside that does not end the job can cancel it in each phase of a resumption. What
/// it holds is free then.
#[tokio::test(start_paused = true)]
async fn a_cancellation_inside_a_log() {
    // Head at 1 s; range requests at 2 s, 5 s and 10 s, which take 1 s each.
    for at in [1500, 2500, 4000, 5500, 8000, 10_500] {
        let server = Server::new([first(), nothing(), Answer::status(503), rest()]);
        let client = server.client();
        let slow = tower::service_fn(move |request| {
            let call = client.clone().oneshot(request);
            async move {
                tokio::time::sleep(secs(1)).await;
                call.await
            }
        });
        let permits = Arc::new(Semaphore::new(1));
        let recorder = Recorder::new();
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let stack = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(cancel)
            .layer(layer())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
            .service(slow);
        let (got, cancelled_at) = tokio::join!(download(stack, get()), async {
            tokio::time::sleep(Duration::from_millis(at)).await;
            assert_eq!(handle.jobs().len(), 1, "{at}");
            assert!(handle.cancel(recorder.job()), "{at}");
            Instant::now()
        });
        assert_eq!(cancelled_at.elapsed(), Duration::ZERO, "{at}");
        assert_eq!(got.text, CONTENT[..4]);
        assert_eq!(
            Rejection::of(&*got.result.unwrap_err()),
            Some(Rejection::Cancelled)
        );
        assert_eq!(permits.available_permits(), 1);
        assert!(handle.jobs().is_empty());
        let events = recorder.events_of(recorder.job());
        let ends = events.iter().filter(|event| event.kind.is_terminal());
        assert_eq!(ends.count(), 1);
    }
}

/// R86 A shutdown outside waits for the whole body, and no longer.
#[tokio::test(start_paused = true)]
async fn a_shutdown_during_the_wait() {
    let server = Server::new([first(), nothing(), rest()]);
    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    let stack = LogLayer::http().layer(cancel.layer(layer().layer(server.client())));
    let start = Instant::now();
    let (got, report) = tokio::join!(download(stack, get()), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let report = handle.shutdown(secs(60)).await;
        assert_eq!(start.elapsed(), secs(3));
        report
    });
    got.is_whole();
    assert_eq!(report.cancelled, 0);
    assert!(handle.jobs().is_empty());
}

/// R86 A reader that drops the body during the wait ends the resumption.
#[tokio::test(start_paused = true)]
async fn a_dropped_body() {
    let recorder = Recorder::new();
    let server = Server::new([first()]);
    let stack = LogLayer::http_to(recorder.clone()).layer(layer().layer(server.client()));
    let body = stack.oneshot(get()).await.unwrap().into_body();
    tokio::time::timeout(Duration::from_millis(500), read(body))
        .await
        .err()
        .unwrap();
    let events = recorder.events_of(recorder.job());
    assert_eq!(
        events
            .iter()
            .filter(|event| event.kind.is_terminal())
            .count(),
        1
    );
    tokio::time::sleep(secs(60)).await;
    assert_eq!(server.arrived().len(), 1);
}

/// R86 If the job has ended with its head, the body is resumed all the same, without an event.
#[tokio::test(start_paused = true)]
async fn a_job_that_ended_with_its_head() {
    let recorder = Recorder::new();
    let server = Server::new([first(), rest()]);
    let stack = LogLayer::to(recorder.clone()).layer(layer().layer(server.client()));
    download(stack, get()).await.is_whole();
    let events = recorder.events_of(recorder.job());
    assert_eq!(events.last().unwrap().kind, EventKind::Succeeded);
    let ended = |kind: &EventKind| matches!(kind, EventKind::AttemptEnded { attempt: 1, .. });
    assert_eq!(events.iter().filter(|event| ended(&event.kind)).count(), 1);
}

/// R86 The attempt of a response that cannot be resumed ends with its head.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_ends_with_its_head() {
    let recorder = Recorder::new();
    let server = Server::new([first().without("etag")]);
    let stack = LogLayer::http_to(recorder.clone()).layer(layer().layer(server.client()));
    download(stack, get()).await.is_unchanged(&CONTENT[..4]);
    let events = recorder.events_of(recorder.job());
    let names: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::AttemptEnded { outcome, .. } => Some(outcome.to_string()),
            EventKind::Failed { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["succeeded", "unexpected end of file"]);
}
