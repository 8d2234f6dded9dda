//! Resumption in stacks: with all layers, nested, boxed, shared.

use http::Request;
use tower::{Layer, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, EventKind, LogLayer, Pipeline,
    ProgressLayer, Ratio, RepeatRequest, Report, ResumeLayer, RetryLayer, TimeoutLayer,
    http::{Hint, resume::NotResumedReason},
    retry::{Decision, RetryBudget},
};
use tower_keep_test::{Recorder, secs};

use super::{Answer, CONTENT, Server, download, get, read};

fn cut() -> [Answer; 2] {
    [
        Answer::whole(CONTENT).cut_after(4),
        Answer::rest(CONTENT, 4),
    ]
}

/// R86 `Pipeline::http_client()` takes a retry that resumes.
#[tokio::test(start_paused = true)]
async fn in_the_pipeline() {
    let server = Server::new(cut());
    let recorder = Recorder::new();
    let api = Pipeline::http_client()
        .log(LogLayer::http_to(recorder.clone()))
        .retry(RetryLayer::http().resume())
        .build()
        .unwrap()
        .layer(server.client());
    download(api.clone(), get()).await.is_whole();
    let events = recorder.events_of(recorder.job());
    assert_eq!(events.last().unwrap().kind, EventKind::Succeeded);
    assert_eq!(events.last().unwrap().attempt, 2);

    server.script(cut());
    let boxed = BoxCloneSyncService::new(api);
    download(boxed, get()).await.is_whole();
}

/// R86 All layers around the resumption follow its body; those inside follow each response.
#[tokio::test(start_paused = true)]
async fn with_all_layers() {
    let server = Server::new(cut());
    let progress = ProgressLayer::http();
    let board = progress.handle();
    let outside = CircuitBreakerLayer::http();
    let inside = CircuitBreakerLayer::http();
    let stack = ServiceBuilder::new()
        .layer(LogLayer::http())
        .layer(progress)
        .layer(CancelLayer::http())
        .layer(outside)
        .layer(TimeoutLayer::http(secs(60)))
        .layer(RetryLayer::http().resume())
        .layer(inside.failure_threshold(0))
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .service(server.client());
    let got = download(stack, get()).await;
    // The circuit inside has seen the cut, and rejects the range request.
    got.is_not_resumed(&CONTENT[..4], NotResumedReason::Failed);
    let error = got.result.unwrap_err();
    assert_eq!(
        tower_keep::Rejection::of(&*error),
        Some(tower_keep::Rejection::CircuitOpen)
    );
    assert_eq!(server.arrived().len(), 1);
    assert_eq!(board.history()[0].report, Report::bytes(4, Some(10)));

    let server = Server::new(cut());
    let progress = ProgressLayer::http();
    let board = progress.handle();
    let stack = ServiceBuilder::new()
        .layer(progress)
        .layer(RetryLayer::http().resume())
        .layer(LogLayer::http())
        .layer(CancelLayer::http())
        .service(server.client());
    download(stack, get()).await.is_whole();
    assert_eq!(board.history()[0].report, Report::bytes(10, Some(10)));
}

/// R86 The resumption alone, as the outermost layer, ends the job with the body.
#[tokio::test(start_paused = true)]
async fn as_the_outermost_layer() {
    let server = Server::new(cut());
    let recorder = Recorder::new();
    let stack = RetryLayer::http()
        .resume()
        .layer(LogLayer::http_to(recorder.clone()).layer(server.client()));
    let response = stack.oneshot(get()).await.unwrap();
    let job = recorder.job();
    let ends = || {
        let events = recorder.events_of(job);
        events
            .iter()
            .filter(|event| event.kind.is_terminal())
            .count()
    };
    assert_eq!(ends(), 0);
    read(response.into_body()).await.is_whole();
    assert_eq!(ends(), 1);
    let events = recorder.events_of(job);
    assert_eq!(events.last().unwrap().kind, EventKind::Succeeded);
    assert!(events.iter().all(|event| event.job == job));
}

/// R86 A resumption inside a retry, and two of them: each cut is resumed once.
#[tokio::test(start_paused = true)]
async fn nested() {
    let server = Server::new([[Answer::status(503)].to_vec(), cut().to_vec()].concat());
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::http())
        .layer(ResumeLayer::new())
        .service(server.client());
    download(stack, get()).await.is_whole();

    let server = Server::new(cut());
    let stack = ServiceBuilder::new()
        .layer(ResumeLayer::new())
        .layer(ResumeLayer::new())
        .service(server.client());
    download(stack, get()).await.is_whole();
    assert_eq!(server.ranges(), ["", "bytes=4-"]);
}

/// R86 All setters of the retry are there after `resume()`.
#[tokio::test(start_paused = true)]
async fn setters_after_resume() {
    let budget = RetryBudget::new(Ratio::percent(50).unwrap());
    let retry = RetryLayer::http()
        .resume()
        .retry_status(http::StatusCode::INTERNAL_SERVER_ERROR)
        .hints(|_: http::StatusCode, headers: &http::HeaderMap| {
            let seconds = headers.get("x-wait")?.to_str().ok()?.parse().ok()?;
            Some(Hint::Wait(secs(seconds)))
        })
        .repeat_by(|_: &Request<String>| None::<RepeatRequest>)
        .max_body(10)
        .budget_per_authority(budget)
        .max_retries_by(|_: &Request<String>| Some(4))
        .attempt_header(http::HeaderName::from_static("earlier"))
        .on_give_up(|outcome: Result<http::Response<super::Part>, BoxError>, _| outcome)
        .decide_first(
            |outcome: &Result<http::Response<super::Part>, BoxError>, _| match outcome {
                Ok(response) if response.status() == 404 => Some(Decision::Retry),
                _ => None,
            },
        )
        .retry_after(|_: &Result<http::Response<super::Part>, BoxError>| None)
        .max_requested_delay(secs(100));
    let [first, rest] = cut();
    let wait = Answer::status(403).header("x-wait", 90);
    let server = Server::new([first, Answer::status(404), wait, Answer::status(500), rest]);
    download(retry.layer(server.client()), get())
        .await
        .is_whole();
    let arrived = server.arrived();
    assert!(arrived[3].at - arrived[2].at >= secs(90));
    assert_eq!(arrived[4].header("earlier"), Some("4"));
}

/// R86 Clones of the service resume their own bodies.
#[tokio::test(start_paused = true)]
async fn clones() {
    let client = ResumeLayer::default().layer(Server::new(cut()).client());
    drop(client.clone());
    let server = Server::new(cut().into_iter().chain(cut()));
    let client = RetryLayer::http().resume().layer(server.client());
    for client in [client.clone(), client] {
        download(client, get()).await.is_whole();
    }
}

/// R86 Under a dispatcher and under Dedup, the body is resumed by its reader.
#[tokio::test(start_paused = true)]
async fn under_other_layers() {
    let server = Server::new(cut());
    let stack = DedupLayer::new(|request: &Request<String>| Some(request.uri().to_string()))
        .layer(RetryLayer::http().resume().layer(server.client()));
    download(stack, get()).await.is_whole();

    let server = Server::new(cut());
    let dispatcher =
        tower_keep::Dispatcher::new(RetryLayer::http().resume().layer(server.client()));
    let response = dispatcher.dispatch(get()).await.unwrap();
    read(response.into_body()).await.is_whole();
}
