//! Which job a JobLayer names.

use std::sync::{Arc, Mutex};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, DedupLayer, Dispatcher, Event, Job, JobId, JobLayer, JobName, LogLayer, Observer,
    ProgressLayer, RetryLayer,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

/// The name that each event of the only job carries.
#[track_caller]
fn names(recorder: &Recorder) -> Vec<String> {
    let job = recorder.job();
    let events = recorder.events_of(job);
    events.iter().map(|event| event.name.to_string()).collect()
}

/// Fails twice.
fn fails_twice()
-> impl Service<u32, Response = u32, Error = BoxError, Future = Work> + Clone + Send + Sync {
    code(|job, n| async move {
        match job.attempt() {
            1 | 2 => Err("busy".into()),
            _ => Ok(n),
        }
    })
}

const RETRIED: [&str; 10] = [
    "dispatched",
    "started",
    "attempt_ended",
    "retry_scheduled",
    "retrying",
    "attempt_ended",
    "retry_scheduled",
    "retrying",
    "attempt_ended",
    "succeeded",
];

/// R76 A JobLayer inside a LogLayer names its job: the log has all events, and one job has one id.
#[tokio::test(start_paused = true)]
async fn a_job_layer_inside_names_the_job() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(JobLayer::new("import"))
        .layer(RetryLayer::new())
        .service(fails_twice());
    service.oneshot(1).await.unwrap();
    recorder.assert_names(RETRIED);
    recorder.assert_one_terminal_each();
    let names = names(&recorder);
    assert_eq!(names[0], "", "`dispatched` went out before");
    assert!(names[1..].iter().all(|name| name == "import"), "{names:?}");
}

/// R76 A later attempt goes on in the same job, under its first name, whichever layer makes the
/// attempts.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_keeps_the_name() {
    let numbered = || JobLayer::named_by(|n: &u32| format!("attempt of {n}"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let inner = || {
        let seen = Arc::clone(&seen);
        code(move |job, n| {
            let mut seen = seen.lock().unwrap();
            seen.push((job.id(), job.name().to_owned()));
            let fails = seen.len() % 3 != 0;
            async move { if fails { Err("busy".into()) } else { Ok(n) } }
        })
    };
    let (log, recorder) = recording();
    let ours = ServiceBuilder::new()
        .layer(log.clone())
        .layer(RetryLayer::new())
        .layer(numbered())
        .service(inner());
    ours.oneshot(1).await.unwrap();
    let foreign = ServiceBuilder::new()
        .layer(log)
        .layer(tower::retry::RetryLayer::new(CountsOn))
        .layer(numbered())
        .service(inner());
    foreign.oneshot(1).await.unwrap();
    let root = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(numbered())
        .service(inner());
    root.oneshot(1).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(recorder.jobs().len(), 2);
    for job in seen.chunks(3) {
        assert!(job[0].0.is_some());
        assert_eq!(job[0].1, "attempt of 1");
        assert!(job.iter().all(|attempt| *attempt == job[0]), "{job:?}");
    }
}

/// R76 Of two names in one stack the outer one is the job's, and an empty one is none.
#[tokio::test(start_paused = true)]
async fn the_outer_name_wins() {
    for (outer, inner, expected) in [
        ("outer", "inner", "outer"),
        ("", "inner", "inner"),
        ("outer", "", "outer"),
        ("", "", ""),
    ] {
        for log_outside in [false, true] {
            let (log, recorder) = recording();
            let service = ServiceBuilder::new()
                .option_layer(log_outside.then(|| log.clone()))
                .layer(JobLayer::new(outer))
                .option_layer((!log_outside).then_some(log))
                .layer(JobLayer::new(inner))
                .service(code(|job, n| async move {
                    job.progress(0.5);
                    Ok(n)
                }));
            service.oneshot(1).await.unwrap();
            recorder.assert_names(["dispatched", "started", "progress", "succeeded"]);
            assert_eq!(names(&recorder)[1..], [expected; 3]);
        }
    }
}

/// R76 A stack that a job's own code calls begins a child, which its own JobLayer names.
#[tokio::test(start_paused = true)]
async fn a_call_of_the_jobs_code_is_a_child() {
    let (log, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(log.clone())
        .layer(JobLayer::new("client"))
        .service(Scripted::<u32, u32>::new().answer(1).answer(1));
    for name in [None, Some("handler")] {
        recorder.clear();
        let client = client.clone();
        let service = ServiceBuilder::new()
            .layer(log.clone())
            .option_layer(name.map(JobLayer::new))
            .service(service_fn(move |n: u32| {
                let client = client.clone();
                async move { client.oneshot(n).await }
            }));
        service.oneshot(1).await.unwrap();
        let [handler, child] = recorder.jobs()[..] else {
            panic!("two jobs: {recorder}")
        };
        let last = |job: JobId| recorder.events_of(job).pop().unwrap();
        assert_eq!(&*last(handler).name, name.unwrap_or(""));
        assert_eq!(&*last(child).name, "client");
        assert_eq!(last(child).parent, Some(handler));
    }
}

/// R76 A name reaches a call that a layer makes later, and every layer that may stand around it.
#[tokio::test(start_paused = true)]
async fn any_layer_may_stand_around() {
    async fn check<L>(name: &str, layer: L)
    where
        L: Layer<tower_keep::job::JobService<Plain>>,
        L::Service: Service<u32, Response = u32, Error = BoxError>,
    {
        let (log, recorder) = recording();
        let service = log.layer(layer.layer(JobLayer::new("named").layer(plain())));
        assert_eq!(service.oneshot(1).await.unwrap(), 1, "{name}");
        recorder.assert_one_terminal_each();
        let names = names(&recorder);
        let attempts = recorder.count("attempt_ended");
        assert_eq!(names.len(), 4 + attempts, "{name}");
        assert!(names[1..].iter().all(|given| given == "named"), "{name}");
    }

    type Plain = Stack;
    fn plain() -> Plain {
        Stack::new(code(|job, n| async move {
            job.progress(0.5);
            Ok(n)
        }))
    }

    check_each_layer!(check);
}

/// R76 A dispatched job without a name takes that of its stack; its own name goes first.
#[tokio::test(start_paused = true)]
async fn a_dispatched_job_takes_the_name() {
    let stack = || {
        ServiceBuilder::new()
            .layer(JobLayer::new("stack"))
            .service(code(|_, n| async move {
                tokio::time::sleep(secs(1)).await;
                Ok(n)
            }))
    };
    let jobs = Dispatcher::new(stack());
    let job = jobs.dispatch(1);
    tokio::time::sleep(ms(500)).await;
    assert_eq!(job.name(), "stack");
    assert_eq!(&*jobs.jobs()[0].name, "stack");
    assert_eq!(jobs.jobs().len(), 1);
    let named = Dispatcher::new(stack()).named("dispatched");
    let job = named.dispatch(1);
    let ended = job.progress().ended().await;
    assert_eq!((job.name(), &*ended.name), ("dispatched", "dispatched"));
}

/// R76 The board shows the name at once, also of a job that a gate keeps waiting.
#[tokio::test(start_paused = true)]
async fn the_board_shows_the_name_at_once() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let (_, mut changes) = board.changes();
    let never_ready = Scripted::<u32, u32>::new().never_ready();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(JobLayer::named_by(|n: &u32| format!("job {n}")))
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .service(never_ready);
    let call = begin(&mut service, 7).await;
    let waiting = &board.jobs()[0];
    assert_eq!(&*waiting.name, "job 7");
    let changed = changes.try_changed().unwrap();
    assert_eq!(&*changed.name, "job 7");
    drop(call);
    assert_eq!(&*board.history()[0].name, "job 7");
}

/// R76 An observer can learn of the name, and an observer that panics there harms nobody.
#[tokio::test(start_paused = true)]
async fn an_observer_learns_of_the_name() {
    #[derive(Default)]
    struct Named(Arc<Mutex<Vec<(JobId, String)>>>);

    impl Observer for Named {
        fn on_event(&self, _: &Event) {}

        fn on_named(&self, job: JobId, name: &JobName) {
            self.0.lock().unwrap().push((job, name.to_string()));
            std::panic::panic_any("an observer's panic");
        }
    }

    let named = Named::default();
    let told = Arc::clone(&named.0);
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(named).level(tower_keep::log::Level::INFO))
        .layer(log)
        .layer(JobLayer::new("import"))
        .layer(JobLayer::new("later"))
        .service(code(|job: Job, n| async move {
            assert_eq!(job.name(), "import");
            Ok(n)
        }));
    service.oneshot(1).await.unwrap();
    let told = told.lock().unwrap();
    assert_eq!(*told, [(recorder.job(), "import".to_owned())]);
}

/// R76 The records after `dispatched` have the name.
#[tokio::test(start_paused = true)]
async fn the_records_have_the_name() {
    let (lines, _guard) = Lines::listen();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(JobLayer::new("import"))
        .service(Scripted::<u32, u32>::new().answer(1).strict());
    service.oneshot(1).await.unwrap();
    let with_name: Vec<_> = lines
        .fields()
        .iter()
        .map(|fields| fields.contains(r#"job.name="import""#))
        .collect();
    assert_eq!(with_name, [false, true, true]);
}
