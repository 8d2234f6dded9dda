//! The limits alone, in a `ServiceBuilder`, in a pipeline, nested, cloned, under a dispatcher.

use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Dispatcher, Event, JobLayer, LogLayer, Pipeline, RetryLayer,
    TimeoutLayer, timeout::LimitScope,
};
use tower_keep_test::{Recorder, secs};

use super::{
    super::follow::{end, ended_of},
    Timed, body_of, elapsed, get, read, server,
};

fn hangs() -> Timed {
    Timed::new([(0, "a ")]).hangs()
}

/// R84 Alone, without any job, and around another layer that follows the body: the limit then ends
/// the job.
#[tokio::test(start_paused = true)]
async fn as_the_outermost_layer() {
    let body = body_of(TimeoutLayer::http(secs(60)), server(secs(0), hangs)).await;
    elapsed(&read(body).await.unwrap_err());

    for overall in [true, false] {
        let recorder = Recorder::new();
        let log = LogLayer::http_to(recorder.clone());
        let error = match overall {
            true => {
                let stack = ServiceBuilder::new().layer(TimeoutLayer::http(secs(60)));
                let body = body_of(stack.layer(log).into_inner(), server(secs(0), hangs)).await;
                assert_eq!(end(&recorder), None);
                read(body).await.unwrap_err()
            }
            false => {
                let stack = ServiceBuilder::new().layer(TimeoutLayer::http_attempt(secs(60)));
                let body = body_of(stack.layer(log).into_inner(), server(secs(0), hangs)).await;
                assert_eq!(end(&recorder), None);
                read(body).await.unwrap_err()
            }
        };
        let (how, body_end) = end(&recorder).unwrap();
        assert_eq!((how, body_end), (error.to_string(), "stalled"));
        let names = ["dispatched", "started", "timed_out", "failed"];
        assert_eq!(recorder.names(), names);
        assert_eq!(recorder.times().last().unwrap(), &("failed", secs(60)));
    }
}

/// R84 The nearest limit wins, whichever it is, through every other layer.
#[tokio::test(start_paused = true)]
async fn in_a_service_builder() {
    for (overall, idle, scope, at) in [
        (60, 15, LimitScope::Idle, 15),
        (10, 15, LimitScope::Overall, 10),
    ] {
        let recorder = Recorder::new();
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(CircuitBreakerLayer::http())
            .layer(TimeoutLayer::http(secs(overall)))
            .layer(RetryLayer::http())
            .layer(TimeoutLayer::http_attempt(secs(10)).idle(secs(idle)))
            .service(server(secs(0), hangs));
        let error = read(service.oneshot(get()).await.unwrap().into_body())
            .await
            .unwrap_err();
        assert_eq!(elapsed(&error).scope(), &scope);
        assert_eq!(recorder.count("timed_out"), 1);
        assert_eq!(recorder.times().last().unwrap(), &("failed", secs(at)));
        assert_eq!(end(&recorder).unwrap().1, "stalled");
    }
}

/// R84 The pipeline for clients has both limits: 60 s to the end of the body, 10 s for each wait.
#[tokio::test(start_paused = true)]
async fn in_the_pipeline_for_clients() {
    let recorder = Recorder::new();
    let pipeline = Pipeline::http_client().log(LogLayer::http_to(recorder.clone()));
    let layer = pipeline.build().unwrap();
    let stalls = body_of(layer.clone(), server(secs(0), hangs)).await;
    let trickles = || Timed::new((1..100).map(|n| (n * 9, "x")));
    let trickles = body_of(layer, server(secs(0), trickles)).await;
    let start = Instant::now();
    let (stalls, trickles) = tokio::join!(read(stalls), read(trickles));
    assert_eq!(elapsed(&stalls.unwrap_err()).limit(), secs(10));
    let error = trickles.unwrap_err();
    assert_eq!(elapsed(&error).scope(), &LimitScope::Overall);
    assert_eq!(start.elapsed(), secs(60));
    for (job, at) in recorder.jobs().into_iter().zip([10, 60]) {
        assert_eq!(
            recorder.times_of(job).last().unwrap(),
            &("failed", secs(at))
        );
        assert_eq!(
            ended_of(&recorder, job).unwrap().1.unwrap().to_string(),
            "stalled"
        );
    }
}

/// R84 If the outermost layer does not follow the body, its job ends at the head. The limits hold
/// all the same, and change no job that is over.
#[tokio::test(start_paused = true)]
async fn under_a_layer_that_does_not_follow() {
    let (recorder, watched) = (Recorder::new(), Recorder::new());
    let watch = watched.clone();
    let limits = ServiceBuilder::new()
        .layer(TimeoutLayer::http(secs(60)))
        .layer(LogLayer::to(move |event: &Event| {
            tower_keep::Observer::on_event(&watch, event)
        }))
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .into_inner();
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("fetch"))
        .layer(LogLayer::to(recorder.clone()))
        .layer(limits.clone())
        .into_inner();
    let body = body_of(stack, server(secs(0), hangs)).await;
    assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
    assert_eq!(elapsed(&read(body).await.unwrap_err()).limit(), secs(10));
    recorder.assert_one_terminal_each();

    let mut dispatcher = Dispatcher::new(limits.layer(server(secs(0), hangs)));
    let response = dispatcher
        .ready()
        .await
        .unwrap()
        .dispatch(get())
        .await
        .unwrap();
    assert_eq!(
        elapsed(&read(response.into_body()).await.unwrap_err()).limit(),
        secs(10)
    );
    watched.assert_one_terminal_each();
    recorder.assert_one_terminal_each();
}

/// R84 The reader's own job is another one: the expiry does not end it, and its own limit does not
/// count for the body's job.
#[tokio::test(start_paused = true)]
async fn read_in_another_job() {
    let (recorder, own) = (Recorder::new(), Recorder::new());
    let stack = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(TimeoutLayer::http(secs(60)))
        .into_inner();
    let body = body_of(stack, server(secs(0), hangs)).await;
    let reader = LogLayer::to(own.clone()).layer(service_fn(|body| async move {
        let error: BoxError = read(body).await.unwrap_err();
        sleep(secs(1)).await;
        assert!(!tower_keep::Job::current().is_cancelled());
        Ok::<_, BoxError>(error.to_string())
    }));
    let text = reader.oneshot(body).await.unwrap();
    assert_eq!(own.names(), ["dispatched", "started", "succeeded"]);
    assert_eq!(end(&recorder), Some((text, "stalled")));
}

/// R84 Calls of one client, and of its clones, have their own limits.
#[tokio::test(start_paused = true)]
async fn each_call_has_its_own_limit() {
    let service = TimeoutLayer::http(secs(60)).layer(server(secs(0), hangs));
    let start = Instant::now();
    let first = service.clone().oneshot(get()).await.unwrap().into_body();
    sleep(secs(30)).await;
    let second = service.clone().oneshot(get()).await.unwrap().into_body();
    let (first, second) = tokio::join!(
        async { (read(first).await.is_err(), start.elapsed()) },
        async { (read(second).await.is_err(), start.elapsed()) },
    );
    assert_eq!((first, second), ((true, secs(60)), (true, secs(90))));
}

/// R84 The limits make a type that can be named and stored, and work around any body.
#[tokio::test(start_paused = true)]
async fn around_any_body() {
    let text = service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(Response::new("a page".to_owned()))
    });
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::http(secs(60)))
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .service(text);
    let body = service.oneshot(get()).await.unwrap().into_body();
    assert_eq!(read(body).await.unwrap(), "a page");
}
