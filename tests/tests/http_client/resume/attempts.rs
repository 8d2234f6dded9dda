//! Maximum, backoff, budget, limits and events of resumptions.

use std::time::Duration;

use http::{HeaderValue, Request};
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, EventKind, GiveUpReason, LogLayer, Ratio, Rejection,
    ResumeLayer, RetryLayer, TimeoutLayer,
    http::resume::NotResumedReason,
    retry::{Backoff, Jitter, RetryBudget},
};
use tower_keep_test::{Recorder, secs};

use super::{Answer, CONTENT, End, Server, download, get, read};

fn first() -> Answer {
    Answer::whole(CONTENT).cut_after(4)
}

fn nothing() -> Answer {
    Answer::rest(CONTENT, 4).cut_after(0)
}

fn rest() -> Answer {
    Answer::rest(CONTENT, 4)
}

/// Waits of 1, 2, 4.. s.
fn layer() -> ResumeLayer {
    ResumeLayer::new()
        .jitter(Jitter::None)
        .backoff(Backoff::exponential(secs(1)))
}

/// R86 The maximum counts resumptions without a byte in between. Each byte resets the count and
/// the backoff.
#[tokio::test(start_paused = true)]
async fn the_maximum() {
    let server = Server::new([first(), nothing(), nothing(), rest()]);
    download(layer().layer(server.client()), get())
        .await
        .is_whole();
    assert_eq!(server.moments(), [0, 1000, 3000, 7000]);

    let server = Server::new([first(), nothing(), nothing(), nothing()]);
    let got = download(layer().layer(server.client()), get()).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::Exhausted),
    );

    let one_byte = |first| Answer::rest(CONTENT, first).cut_after(1);
    let script = [
        first(),
        nothing(),
        nothing(),
        one_byte(4),
        one_byte(5),
        one_byte(6),
        one_byte(7),
        one_byte(8),
    ];
    let server = Server::new(script.into_iter().chain([Answer::rest(CONTENT, 9)]));
    download(layer().layer(server.client()), get())
        .await
        .is_whole();
    assert_eq!(
        server.moments(),
        [0, 1000, 3000, 7000, 8000, 9000, 10000, 11000, 12000]
    );

    for max in [0, 1] {
        let server = Server::new([first(), nothing()]);
        let got = download(layer().max_resumptions(max).layer(server.client()), get()).await;
        assert_eq!(server.arrived().len(), 1 + max as usize);
        match max {
            0 => got.is_unchanged(&CONTENT[..4]),
            _ => {
                let reason = NotResumedReason::GaveUp(GiveUpReason::Exhausted);
                got.is_not_resumed(&CONTENT[..4], reason);
            }
        }
    }
}

/// R86 `RetryLayer::http().resume()` shares the maximum: attempts before the first byte count.
#[tokio::test(start_paused = true)]
async fn a_shared_maximum() {
    let retry = || {
        RetryLayer::http()
            .resume()
            .jitter(Jitter::None)
            .base_delay(secs(1))
            .max_retries(2)
    };
    let empty = || Answer::whole(CONTENT).cut_after(0);
    let server = Server::new([
        Answer::status(503),
        empty(),
        Answer::rest(CONTENT, 0).cut_after(0),
    ]);
    let got = download(retry().layer(server.client()), get()).await;
    got.is_not_resumed("", NotResumedReason::GaveUp(GiveUpReason::Exhausted));
    assert_eq!(server.moments(), [0, 1000, 3000]);

    let server = Server::new([
        Answer::status(503),
        Answer::status(503),
        first(),
        nothing(),
        rest(),
    ]);
    download(retry().layer(server.client()), get())
        .await
        .is_whole();
    assert_eq!(server.moments(), [0, 1000, 3000, 4000, 6000]);
}

/// R86 A resumption withdraws from the budget, like a retry.
#[tokio::test(start_paused = true)]
async fn the_budget() {
    let budget = RetryBudget::new(Ratio::percent(1).unwrap()).floor(2);
    let layers = || ResumeLayer::new().budget(budget.clone());
    let server = Server::new([first(), nothing(), nothing()]);
    let got = download(layers().layer(server.client()), get()).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::Budget),
    );
    assert_eq!(server.arrived().len(), 3);
    assert_eq!(
        (
            budget.balance().first_attempts(),
            budget.balance().retries()
        ),
        (1, 2)
    );

    // The retry and the resumption share it.
    let budget = RetryBudget::new(Ratio::percent(1).unwrap()).floor(2);
    let server = Server::new([Answer::status(503), first(), nothing()]);
    let retry = RetryLayer::http().budget(budget.clone()).resume();
    let got = download(retry.layer(server.client()), get()).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::Budget),
    );
    assert_eq!(
        (
            budget.balance().first_attempts(),
            budget.balance().retries()
        ),
        (1, 2)
    );

    // By default each server has its own.
    let server = Server::new([first(), rest()].into_iter().cycle().take(61));
    let client = RetryLayer::http().resume().layer(server.client());
    for _ in 0..30 {
        download(client.clone(), get()).await.is_whole();
    }
    let got = download(client.clone(), get()).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::Budget),
    );
    let mut other = get();
    *other.uri_mut() = "http://example.org/file".parse().unwrap();
    server.script([first(), rest()]);
    download(client, other).await.is_whole();
}

/// R86 The overall limit bounds a resumption: it gives up at once if the wait is too long, and the
/// limit ends a range request.
#[tokio::test(start_paused = true)]
async fn the_overall_limit() {
    let server = Server::new([first()]);
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::http(secs(1)))
        .layer(layer())
        .service(server.client());
    let start = Instant::now();
    let got = download(stack, get()).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::Deadline),
    );
    assert_eq!(start.elapsed(), Duration::ZERO);

    let server = Server::new([first(), rest().ends_after(2, End::Stalls)]);
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::http(secs(5)))
        .layer(layer())
        .service(server.client());
    let got = download(stack, get()).await;
    assert_eq!(got.text, CONTENT[..6]);
    assert_eq!(
        Rejection::of(&*got.result.unwrap_err()),
        Some(Rejection::TimedOut)
    );
    assert_eq!(start.elapsed(), secs(5));

    // Inside the resumption, it still ends the job.
    let server = Server::new([Answer::whole(CONTENT).ends_after(4, End::Stalls)]);
    let stack = ServiceBuilder::new()
        .layer(layer())
        .layer(TimeoutLayer::http(secs(5)))
        .service(server.client());
    let got = download(stack, get()).await;
    assert_eq!(got.text, CONTENT[..4]);
    assert_eq!(
        Rejection::of(&*got.result.unwrap_err()),
        Some(Rejection::TimedOut)
    );
    assert_eq!(server.arrived().len(), 1);

    let server = Server::new([first(), first()]);
    let retry = RetryLayer::http()
        .resume()
        .jitter(Jitter::None)
        .max_total_time(secs(1))
        .base_delay(secs(2));
    let got = download(retry.layer(server.client()), get()).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::TotalTime),
    );
}

/// R86 Inside the resumption, the limit of an attempt and its idle limit hold for each range
/// request, and cause another.
#[tokio::test(start_paused = true)]
async fn the_limit_of_an_attempt() {
    for retries in [false, true] {
        let stalls = |answer: Answer, bytes| answer.ends_after(bytes, End::Stalls);
        let server = Server::new([
            stalls(Answer::whole(CONTENT), 4),
            stalls(rest(), 1),
            Answer::rest(CONTENT, 5),
        ]);
        let attempt = TimeoutLayer::http_attempt(secs(10)).idle(secs(3));
        let client = attempt.layer(server.client());
        let got = match retries {
            true => {
                let retry = RetryLayer::http()
                    .resume()
                    .jitter(Jitter::None)
                    .base_delay(secs(1));
                download(retry.layer(client), get()).await
            }
            false => download(layer().layer(client), get()).await,
        };
        got.is_whole();
        assert_eq!(server.moments(), [0, 4000, 8000]);
    }
}

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

/// R86 The range requests go through the hooks of the retry, and keep the headers of the caller.
#[tokio::test(start_paused = true)]
async fn hooks_of_the_retry() {
    let mut request = get();
    request
        .headers_mut()
        .insert("authorization", "secret".parse().unwrap());
    let server = Server::new([first(), nothing(), rest()]);
    let retry =
        RetryLayer::http()
            .resume()
            .before_attempt(|request: &mut Request<String>, attempt| {
                request
                    .headers_mut()
                    .insert("attempt", HeaderValue::from(attempt.number()));
            });
    download(retry.layer(server.client()), request.clone())
        .await
        .is_whole();
    for (arrived, number) in server.arrived().iter().zip(["1", "2", "3"]) {
        assert_eq!(arrived.header("attempt"), Some(number));
        assert_eq!(arrived.header("authorization"), Some("secret"));
    }

    let server = Server::new([first(), nothing(), rest()]);
    let retry = RetryLayer::http().resume().before_attempt_async(
        |mut request: Request<String>, attempt: &tower_keep::retry::Attempt<'_>| {
            request
                .headers_mut()
                .insert("attempt", HeaderValue::from(attempt.number()));
            async { Ok::<_, BoxError>(request) }
        },
    );
    download(retry.layer(server.client()), request)
        .await
        .is_whole();
    let numbers = server
        .arrived()
        .iter()
        .map(|arrived| arrived.header("attempt").unwrap().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(numbers, ["1", "2", "3"]);
    assert_eq!(server.ranges(), ["", "bytes=4-", "bytes=4-"]);
}

/// R86 The old body is dropped before the range request, which waits for a ready service: a limit
/// of one call inside does not block it.
#[tokio::test(start_paused = true)]
async fn a_limit_of_one_call() {
    let server = Server::new([first(), nothing(), rest()]);
    let stack = ServiceBuilder::new()
        .layer(layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(server.client());
    download(stack, get()).await.is_whole();
}
