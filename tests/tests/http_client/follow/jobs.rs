//! The job while its body is read: current in the body's code, owned by one layer of the stack.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::Request;
use http_body_util::BodyExt;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, Dispatcher, EventKind, Job, JobId, JobLayer, LogLayer,
    Pipeline, ProgressLayer, RetryLayer, TimeoutLayer, http::body::BodyEnd, progress::JobState,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{
    Step::{Data, Error, Pends, Runs},
    Steps, end, ended_of, get, poll, server,
};

/// A step that notes the current job.
fn notes(seen: &Arc<Mutex<Vec<Option<JobId>>>>) -> super::Step {
    let seen = Arc::clone(seen);
    Runs(Box::new(move || {
        seen.lock().unwrap().push(Job::current().id())
    }))
}

/// R84 The code of the body runs in its job, wherever it is read: in no job, and in another one.
#[tokio::test(start_paused = true)]
async fn the_job_is_current_in_the_body() {
    let seen = Arc::default();
    let recorder = Recorder::new();
    let steps = [
        notes(&seen),
        Data("a "),
        notes(&seen),
        Data("page"),
        notes(&seen),
    ];
    let service = LogLayer::http_to(recorder.clone()).layer(server(200, Steps::new(steps)));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    let job = recorder.job();
    assert!(poll(&mut body).is_ready());
    assert_eq!(Job::current().id(), None, "the reader runs in no job");

    let parent = JobLayer::new("reader").layer(service_fn(|body| async move {
        let own = Job::current().id();
        let read: http_body_util::Collected<_> = BodyExt::collect(body).await?;
        assert_eq!(Job::current().id(), own);
        assert_eq!(read.to_bytes(), "page");
        Ok::<_, BoxError>(())
    }));
    parent.oneshot(body).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Some(job); 3]);
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
}

/// R84 A report of the body's code belongs to the job, and the board shows the job until the body's
/// end.
#[tokio::test(start_paused = true)]
async fn the_body_reports_progress() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let report = Runs(Box::new(|| Job::current().progress(0.5)));
    let service = ServiceBuilder::new()
        .layer(LogLayer::http())
        .layer(progress)
        .service(server(200, Steps::new([Data("a "), report, Data("page")])));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    for fraction in [0.0, 0.5] {
        assert!(poll(&mut body).is_ready());
        let view = &board.jobs()[0];
        assert_eq!(view.state, JobState::Running);
        assert_eq!(view.report.fraction(), Some(fraction));
    }
    drop(body);
    assert!(board.jobs().is_empty());
    assert_eq!(board.history()[0].state, JobState::Succeeded);
}

/// R84 If the caller of a call is cancelled while it reads the body, the call's job ends as cancelled.
#[tokio::test(start_paused = true)]
async fn a_cancelled_reader_cancels_the_call() {
    let recorder = Recorder::new();
    let log = LogLayer::http_to(recorder.clone());
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let parent = cancel.layer(service_fn(move |()| {
        let client = log.layer(server(200, Steps::new([Data("a "), Pends, Data("page")])));
        async move {
            let body = client.oneshot(get()).await?.into_body();
            Ok::<_, BoxError>(body.collect().await?.to_bytes())
        }
    }));
    let call = tokio::spawn(parent.oneshot(()));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(end(&recorder), None);
    handle.cancel_all(CancelReason::Requested);
    call.await.unwrap().unwrap_err();
    let (how, body) = end(&recorder).unwrap();
    assert!(how.starts_with("cancelled"), "{how}");
    assert_eq!(body, "dropped");
}

/// R84 The outermost layer ends the job. Several logs of one stack see one end; each says how the
/// body ended.
#[tokio::test(start_paused = true)]
async fn several_logs_see_one_end() {
    for fails in [false, true] {
        let (outer, inner) = (Recorder::new(), Recorder::new());
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(outer.clone()))
            .layer(TimeoutLayer::new(secs(60)))
            .layer(LogLayer::http_to(inner.clone()))
            .service(server(
                200,
                Steps::new([
                    Data("page"),
                    if fails {
                        Error(io::ErrorKind::ConnectionReset)
                    } else {
                        Pends
                    },
                ]),
            ));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!((end(&outer), end(&inner)), (None, None));
        let mut body = response.into_body();
        assert!(poll(&mut body).is_ready());
        let _ = poll(&mut body);
        drop(body);
        let (how, body_end) = end(&outer).unwrap();
        assert_eq!(end(&inner).unwrap(), (how.clone(), body_end));
        match fails {
            true => assert_eq!((how.contains("reset"), body_end), (true, "truncated")),
            false => assert_eq!((&*how, body_end), ("succeeded", "dropped")),
        }
    }
}

/// R84 If the outermost layer does not follow the body, the job ends at the head, as without a
/// layer that follows. Reading is not disturbed, and the reader's own job is not touched.
#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_follow_ends_the_job_at_the_head() {
    macro_rules! check {
        ($($outer:expr),+) => {{
            let recorder = Recorder::new();
            let steps = [Data("page"), Error(io::ErrorKind::ConnectionReset)];
            let service = ServiceBuilder::new()
                $(.layer($outer))+
                .layer(LogLayer::http_to(recorder.clone()))
                .service(server(200, Steps::new(steps)));
            let response = service.oneshot(get()).await.unwrap();
            assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "-")));
            let other = Recorder::new();
            let reader = LogLayer::to(other.clone()).layer(service_fn(|body| async move {
                BodyExt::collect(body).await.map(drop)
            }));
            reader.oneshot(response.into_body()).await.unwrap_err();
            recorder.assert_one_terminal_each();
            assert_eq!(other.names(), ["dispatched", "started", "failed"]);
        }};
    }
    check!(JobLayer::new("fetch"));
    check!(ProgressLayer::new());
    check!(CancelLayer::new());
    check!(JobLayer::new("fetch"), ProgressLayer::new());
    check!(TimeoutLayer::new(secs(60)));

    let recorder = Recorder::new();
    let inner = LogLayer::http_to(recorder.clone()).layer(service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(http::Response::new(Steps::new([Data("page")])))
    }));
    let mut dispatcher = Dispatcher::new(inner);
    let handle = dispatcher.ready().await.unwrap().dispatch(get());
    let response = handle.await.unwrap();
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "-")));
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "page"
    );
}

/// R84 Each attempt of a Retry layer ends at its head; the job ends with the body of the last one. A
/// log inside Retry has the same end.
#[tokio::test(start_paused = true)]
async fn attempts_end_at_their_heads() {
    let recorder = Recorder::new();
    let mut answers = 0;
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(
            RetryLayer::http()
                .base_delay(secs(1))
                .jitter(tower_keep::retry::Jitter::None),
        )
        .layer(LogLayer::http())
        .service(service_fn(move |_: Request<String>| {
            answers += 1;
            let status = if answers == 1 { 503 } else { 200 };
            let response = http::Response::builder().status(status);
            let response = response.body(Steps::new([Data("page")])).unwrap();
            async move { Ok::<_, BoxError>(response) }
        }));
    let response = service.oneshot(get()).await.unwrap();
    let names = [
        "dispatched",
        "started",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
    ];
    assert_eq!(recorder.names(), names);
    let bodies = recorder
        .events()
        .into_iter()
        .map(|event| event.http.unwrap().body);
    assert!(bodies.eq([None; 6]), "the discarded body is not the job's");
    tokio::time::sleep(secs(10)).await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "page"
    );
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
    assert_eq!(recorder.times().last().unwrap(), &("succeeded", secs(11)));
}

/// R84 A call that the body's code makes is a child job, and its failure is not the body's.
#[tokio::test(start_paused = true)]
async fn a_call_of_the_bodys_code_is_a_child() {
    let recorder = Recorder::new();
    let log = LogLayer::http_to(recorder.clone());
    let child = log.clone();
    let calls = Runs(Box::new(move || {
        let inner = service_fn(|_: Request<String>| async {
            Err::<http::Response<String>, _>(BoxError::from("refused"))
        });
        let call = child
            .layer(TimeoutLayer::new(secs(1)).layer(inner))
            .oneshot(get());
        futures::FutureExt::now_or_never(call).unwrap().unwrap_err();
    }));
    let service = log.layer(server(200, Steps::new([calls, Data("page")])));
    let response = service.oneshot(get()).await.unwrap();
    response.into_body().collect().await.unwrap();
    let [parent, child] = recorder.jobs()[..] else {
        panic!("two jobs")
    };
    assert_eq!(servers::parent(&recorder, child), Some(parent));
    let (kind, body) = ended_of(&recorder, child).unwrap();
    assert!(matches!(kind, EventKind::Failed { .. }));
    assert_eq!(body, None);
    let end = ended_of(&recorder, parent).unwrap();
    assert_eq!(end, (EventKind::Succeeded, Some(BodyEnd::Complete)));
}

/// R84 A response that a layer made ends the job at once: no body of the server follows.
#[tokio::test(start_paused = true)]
async fn a_response_of_a_layer_has_no_body_of_the_server() {
    let recorder = Recorder::new();
    let slow = service_fn(|_: Request<String>| std::future::pending::<Result<_, BoxError>>());
    let made = |_| {
        let response = http::Response::builder().status(504);
        response.body(Steps::new([Data("too slow")])).unwrap()
    };
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(TimeoutLayer::new(secs(1)).respond_with(made))
        .service(slow);
    let response = service.oneshot(get()).await.unwrap();
    let (how, body) = end(&recorder).unwrap();
    assert!(how.contains("time limit"), "{how}");
    assert_eq!(body, "-");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "too slow"
    );
}

/// R84 The pipeline for clients follows the body, also under load: each call has its own job.
#[tokio::test(start_paused = true)]
async fn the_pipeline_follows_the_body() {
    let recorder = Recorder::new();
    let pipeline = Pipeline::http_client().log(LogLayer::http_to(recorder.clone()));
    let api = pipeline
        .build()
        .unwrap()
        .layer(service_fn(|_: Request<String>| async {
            let steps = [
                Data("a "),
                Data("page"),
                Error(io::ErrorKind::UnexpectedEof),
            ];
            Ok::<_, BoxError>(http::Response::new(Steps::new(steps)))
        }));
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(api.clone().oneshot(get()).await.unwrap().into_body());
    }
    let jobs = recorder.jobs();
    assert_eq!(jobs.len(), 3);
    for (job, body) in jobs.into_iter().zip(bodies) {
        assert_eq!(ended_of(&recorder, job), None);
        body.collect().await.unwrap_err();
        let (kind, body) = ended_of(&recorder, job).unwrap();
        assert!(matches!(kind, EventKind::Failed { .. }), "{kind:?}");
        assert_eq!(body, Some(BodyEnd::Truncated));
    }
}

/// R42 R84 The record of the end says how the body ended; no other record does.
#[tokio::test(start_paused = true)]
async fn the_record_says_how_the_body_ended() {
    let (lines, _guard) = Lines::listen();
    let service = LogLayer::http().layer(server(200, Steps::new([Data("page")])));
    drop(service.oneshot(get()).await.unwrap());
    assert_eq!(
        lines.records(),
        ["INFO dispatched", "DEBUG started", "INFO succeeded"]
    );
    let says = lines
        .fields()
        .iter()
        .map(|fields| fields.contains(r#"body="dropped""#))
        .collect::<Vec<_>>();
    assert_eq!(says, [false, false, true], "{:?}", lines.fields());
}
