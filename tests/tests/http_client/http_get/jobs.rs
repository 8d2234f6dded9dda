//! Jobs, events and limits of callers that share, and of callers that send their own request.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_keep::{
    BoxError, DedupLayer, EventKind, Job, JobId, JobLayer, LogLayer, ProgressLayer, Rejection,
    Report, RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Recorder, secs};
use tower_keep_tests::begin;

use super::{Site, Step, Steps, answer, get, text};

/// A server that reports a step of its job half-way, and notes the jobs that run it.
fn reporting(
    jobs: &Arc<Mutex<Vec<JobId>>>,
    cache_control: &'static str,
) -> impl Service<Request<String>, Response = Response<String>, Error = BoxError, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    let jobs = Arc::clone(jobs);
    service_fn(move |_: Request<String>| {
        let jobs = Arc::clone(&jobs);
        async move {
            let job = Job::current();
            let number = {
                let mut jobs = jobs.lock().unwrap();
                jobs.push(job.id().unwrap());
                jobs.len() as u64
            };
            tokio::time::sleep(secs(1)).await;
            job.progress(Report::amount(number, None, tower_keep::Unit::Items));
            tokio::time::sleep(secs(1)).await;
            let page = answer(200, &[("cache-control", cache_control)]);
            Ok::<_, BoxError>(page.body(number.to_string())?)
        }
    })
}

/// R88 The job of a follower that sends its own request starts then, and runs that request. One
/// that shares never starts. Each job ends once.
#[tokio::test(start_paused = true)]
async fn the_events_of_each_job() {
    for (cache_control, own) in [
        (
            "public",
            &["dispatched", "duplicate", "progress", "succeeded"] as &[_],
        ),
        (
            "private",
            &[
                "dispatched",
                "duplicate",
                "progress",
                "started",
                "progress",
                "succeeded",
            ],
        ),
    ] {
        let (recorder, jobs) = (Recorder::new(), Arc::default());
        let mut client = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(DedupLayer::http_get())
            .service(reporting(&jobs, cache_control));
        let leader = tokio::spawn(begin(&mut client, get("/")).await);
        tokio::time::sleep(secs(1) / 2).await;
        let follower = tokio::spawn(begin(&mut client, get("/")).await);
        text(leader.await.unwrap().unwrap()).await;
        text(follower.await.unwrap().unwrap()).await;

        let begun = recorder.jobs();
        let [leader, follower] = begun[..] else {
            panic!("{begun:?}")
        };
        let ran = jobs.lock().unwrap().clone();
        assert_eq!(ran[0], leader);
        match cache_control {
            "public" => assert_eq!(ran.len(), 1),
            // The leader or the follower, whichever took the first answer, did not send again.
            _ => assert_eq!(ran.len(), 2),
        }
        if ran.get(1) == Some(&leader) {
            // The follower took the leader's answer.
            let joined = ["dispatched", "duplicate", "progress", "succeeded"];
            recorder.assert_names_of(follower, joined);
        } else {
            recorder.assert_names_of(follower, own.iter().copied());
            recorder.assert_names_of(leader, ["dispatched", "started", "progress", "succeeded"]);
        }
        recorder.assert_one_terminal_each();
    }
}

/// R88 A follower that sends its own request is an ordinary job from then on: its own reports reach it, and those
/// of the leader no more.
#[tokio::test(start_paused = true)]
async fn a_follower_becomes_an_ordinary_job() {
    let (recorder, jobs) = (Recorder::new(), Arc::default());
    let mut client = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(DedupLayer::http_get())
        .service(reporting(&jobs, "private"));
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(begin(&mut client, get("/")).await);
    }
    for response in futures::future::join_all(calls).await {
        text(response.unwrap()).await;
    }
    let ran = jobs.lock().unwrap().clone();
    assert_eq!(ran.len(), 3);
    for (number, job) in ran.iter().enumerate().skip(1) {
        let reports: Vec<_> = recorder
            .kinds_of(*job)
            .into_iter()
            .filter_map(|kind| match kind {
                EventKind::Progress(report) => Some(report),
                _ => None,
            })
            .collect();
        let amount = |number| Report::amount(number, None, tower_keep::Unit::Items);
        assert_eq!(reports, [amount(1), amount(number as u64 + 1)]);
    }
}

/// R88 The caller's own limit includes the wait and its own request.
#[tokio::test(start_paused = true)]
async fn the_callers_limit_includes_both() {
    for (limit, in_time) in [(1500, 1), (2500, 2)] {
        let site = Site::default();
        let mut client = ServiceBuilder::new()
            .layer(TimeoutLayer::http(tower_keep_test::ms(limit)))
            .layer(DedupLayer::http_get())
            .service(site.numbered(200, &[("cache-control", "private")]));
        let calls = [
            begin(&mut client, get("/")).await,
            begin(&mut client, get("/")).await,
        ];
        let results = futures::future::join_all(calls).await;
        assert_eq!(results.iter().flatten().count(), in_time);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
        }
    }
}

/// R88 A head that a retry gave up on fails each job that has it, although the body came later.
#[tokio::test(start_paused = true)]
async fn the_verdict_on_the_head_reaches_each_job() {
    let site = Site::default();
    let recorder = Recorder::new();
    let mut client = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(DedupLayer::http_get())
        .layer(RetryLayer::http().max_retries(0))
        .service(site.client(|_, _| {
            answer(429, &[("cache-control", "max-age=60")])
                .body(Steps::new([Step::Data("slow "), Step::Data("down")]))
                .unwrap()
        }));
    let calls = [
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    ];
    for response in futures::future::join_all(calls).await {
        assert_eq!(text(response.unwrap()).await, "slow down");
    }
    assert_eq!(site.exchanges(), 1);
    for job in recorder.jobs() {
        assert!(
            matches!(recorder.terminal(job), Some(EventKind::Failed { .. })),
            "{:?}",
            recorder.names_of(job)
        );
    }
}

/// R88 The board shows a joined job, and then its own work.
#[tokio::test(start_paused = true)]
async fn the_board_shows_the_bytes_of_each() {
    let progress = ProgressLayer::http();
    let board = progress.handle();
    let mut client = ServiceBuilder::new()
        .layer(progress)
        .layer(DedupLayer::http_get())
        .service(Site::default().numbered(200, &[]));
    let calls = [
        begin(&mut client, get("/")).await,
        begin(&mut client, get("/")).await,
    ];
    let responses = futures::future::join_all(calls).await;
    assert_eq!(board.jobs().len(), 2, "the bodies were not read");
    for response in responses {
        response.unwrap().into_body().collect().await.unwrap();
    }
    assert!(board.jobs().is_empty());
}

/// R88 The layer is the outermost one, and a layer inside begins the jobs: one for the exchange, and
/// one for each own request.
#[tokio::test(start_paused = true)]
async fn jobs_that_begin_inside() {
    for (cache_control, jobs) in [("public", 1), ("private", 3)] {
        let recorder = Recorder::new();
        let mut client = ServiceBuilder::new()
            .layer(DedupLayer::http_get())
            .layer(LogLayer::http_to(recorder.clone()))
            .service(Site::default().client(move |_, _| {
                answer(200, &[("cache-control", cache_control)])
                    .body("page".to_owned())
                    .unwrap()
            }));
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(begin(&mut client, get("/")).await);
        }
        for response in futures::future::join_all(calls).await {
            assert_eq!(text(response.unwrap()).await, "page");
        }
        assert_eq!(recorder.jobs().len(), jobs);
        recorder.assert_one_terminal_each();
        assert_eq!(recorder.count("succeeded"), jobs);
    }
}

/// R88 An own request is a call in the job of its caller, for a service without any other layer.
#[tokio::test(start_paused = true)]
async fn an_own_request_runs_in_its_job() {
    let foreign = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let inner = {
        let (seen, foreign) = (Arc::clone(&seen), Arc::clone(&foreign));
        service_fn(move |_: Request<String>| {
            match Job::current().id() {
                Some(job) => seen.lock().unwrap().push(job),
                None => drop(foreign.fetch_add(1, Ordering::SeqCst)),
            }
            async {
                tokio::time::sleep(secs(1)).await;
                Ok::<_, BoxError>(answer(500, &[]).body(String::new())?)
            }
        })
    };
    let mut client = JobLayer::new("get").layer(DedupLayer::http_get().layer(inner));
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(begin(&mut client, get("/")).await);
    }
    for response in futures::future::join_all(calls).await {
        assert_eq!(response.unwrap().status(), 500);
    }
    assert_eq!(foreign.load(Ordering::SeqCst), 0);
    let mut seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 4);
    seen.dedup();
    assert!(seen.len() >= 3, "{seen:?}");
}
