//! The exchange of each job in a composition: in any order of the layers, with Dedup, in a child job,
//! in a pipeline, and under a dispatcher.

use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    CancelLayer, DedupLayer, Dispatcher, JobLayer, LogLayer, Pipeline, ProgressLayer, RetryLayer,
    TimeoutLayer,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{Request, answer, boxed_server, exchanges, get, server, statuses};

/// The servers that the events of this recorder's jobs name, for each job.
fn servers(recorder: &Recorder) -> Vec<Vec<String>> {
    let of = |job| {
        let exchanges = exchanges(recorder, job).into_iter();
        let mut servers: Vec<_> = exchanges
            .map(|http| http.authority.unwrap().to_string())
            .collect();
        servers.dedup();
        servers
    };
    recorder.jobs().into_iter().map(of).collect()
}

/// R39 R42 A layer outside that begins the job does not change what the log sees, from the first
/// event on.
#[tokio::test(start_paused = true)]
async fn the_log_may_join_the_job() {
    let expected = [("dispatched", 0), ("started", 0), ("succeeded", 200)];
    let at_once = || boxed_server().answer(answer(200));
    let later = || boxed_server().answer_after(secs(1), answer(200));
    macro_rules! check {
        ($($layer:expr),+) => {
            for inner in [at_once(), later()] {
                let recorder = Recorder::new();
                let service = ServiceBuilder::new()
                    $(.layer($layer))+
                    .layer(LogLayer::http_to(recorder.clone()))
                    .service(inner.strict());
                service.oneshot(get("http://example.com")).await.unwrap();
                assert_eq!(statuses(&recorder, recorder.job()), expected);
            }
        };
    }
    check!(JobLayer::new("fetch"));
    check!(ProgressLayer::new());
    check!(CancelLayer::new());
    check!(TimeoutLayer::new(secs(60)));
    check!(TimeoutLayer::new(secs(60)), ProgressLayer::new());
    check!(CancelLayer::new().detached());
    check!(quiet());
}

/// R39 R42 An observer outside the log gets the exchange with each event from then on, also if
/// nothing listens to tracing.
#[tokio::test(start_paused = true)]
async fn other_observers_get_the_exchange() {
    let (outer, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(outer)
        .layer(LogLayer::http())
        .service(server().answer(answer(201)).strict());
    service.oneshot(get("http://example.com")).await.unwrap();
    let events = recorder.events();
    let seen = events.iter().map(|event| {
        let status = event.http.as_ref().map(|http| http.status);
        (
            event.kind.name(),
            status.map(|status| status.map(|status| status.as_u16())),
        )
    });
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            ("dispatched", None),
            ("started", Some(None)),
            ("succeeded", Some(Some(201)))
        ]
    );
}

/// R39 Each caller of a shared execution has the exchange of its own request, and so has a call that
/// a newer one replaces.
#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_exchange() {
    let key = |request: &Request| Some(request.uri().path().to_owned());
    let hosts = ["http://a.example/x", "http://b.example/x"];
    let recorder = Recorder::new();
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(DedupLayer::new(key).join())
        .service(boxed_server().answer_after(secs(1), answer(200)).strict());
    let first = begin(&mut service, get(hosts[0])).await;
    let second = begin(&mut service, get(hosts[1])).await;
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().status(), second.unwrap().status());
    assert_eq!(servers(&recorder), [["a.example:80"], ["b.example:80"]]);

    let recorder = Recorder::new();
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(DedupLayer::new(key).latest())
        .service(boxed_server().answer(answer(200)).strict());
    let first = begin(&mut service, get(hosts[0])).await;
    let second = begin(&mut service, get(hosts[1])).await;
    let (first, second) = tokio::join!(first, second);
    first.unwrap_err();
    second.unwrap();
    assert_eq!(servers(&recorder), [["a.example:80"], ["b.example:80"]]);
    let [first, second] = recorder.jobs()[..] else {
        panic!("two jobs")
    };
    assert_eq!(statuses(&recorder, first).last().unwrap().1, 0);
    assert_eq!(statuses(&recorder, second).last().unwrap().1, 200);
}

/// R39 A child job has its own exchange, and does not change its parent's.
#[tokio::test(start_paused = true)]
async fn a_child_job_has_its_own_exchange() {
    let recorder = Recorder::new();
    let log = LogLayer::http_to(recorder.clone());
    let child = log.layer(server().answer(answer(404)).strict());
    let parent = log.layer(service_fn(move |_: Request| {
        let child = child.clone();
        async move {
            child.oneshot(get("http://child.example")).await?;
            Ok::<_, &'static str>(answer(200))
        }
    }));
    parent.oneshot(get("http://parent.example")).await.unwrap();
    assert_eq!(
        servers(&recorder),
        [["parent.example:80"], ["child.example:80"]]
    );
    let [parent, child] = recorder.jobs()[..] else {
        panic!("two jobs")
    };
    assert_eq!(
        statuses(&recorder, parent).last().unwrap(),
        &("succeeded", 200)
    );
    assert_eq!(
        statuses(&recorder, child).last().unwrap(),
        &("succeeded", 404)
    );
}

/// R39 R43 R62 The layer fits the pipeline's slot, and its service can be cloned and dispatched.
#[tokio::test(start_paused = true)]
async fn it_goes_into_a_pipeline_and_under_a_dispatcher() {
    let recorder = Recorder::new();
    let layers = Pipeline::new()
        .log(LogLayer::http_to(recorder.clone()))
        .retry(RetryLayer::new().max_retries(1))
        .build()
        .unwrap();
    let inner = boxed_server()
        .error("reset".into())
        .answer(answer(503))
        .strict();
    let service = layers.layer(inner);
    service
        .clone()
        .oneshot(get("http://example.com"))
        .await
        .unwrap();
    let all = statuses(&recorder, recorder.job());
    assert_eq!(*all.last().unwrap(), ("failed", 503), "{all:?}");

    recorder.clear();
    let inner = LogLayer::http_to(recorder.clone()).layer(server().answer(answer(200)).strict());
    let mut dispatcher = Dispatcher::new(inner);
    let handle = dispatcher
        .ready()
        .await
        .unwrap()
        .dispatch(get("http://example.com"));
    handle.await.unwrap();
    let all = statuses(&recorder, recorder.job());
    assert_eq!(all, [("dispatched", 0), ("started", 0), ("succeeded", 200)]);
}
