//! Which job gets which id from outside, and where the id shows.

use std::sync::{Arc, Mutex};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, Dispatcher, Event, EventKind, FailureCause, Job, JobId, JobLayer,
    LogLayer, Observer, Pipeline, ProgressLayer, RetryLayer,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

/// Each request but 0 has an id.
pub(crate) fn identified<S>() -> impl Layer<
    S,
    Service: Service<u32, Response = S::Response, Error = S::Error, Future: Send>
                 + Clone
                 + Send
                 + Sync,
> + Clone
where
    S: Service<u32, Error: std::fmt::Display, Future: Send> + Clone + Send + Sync,
{
    JobLayer::unnamed().identified_by(|n: &u32| (*n > 0).then(|| format!("order-{n}")))
}

/// The external id that each event of the only job carries.
#[track_caller]
pub(crate) fn ids(recorder: &Recorder) -> Vec<String> {
    let events = recorder.events_of(recorder.job());
    let id = |event: &Event| event.external_id.as_deref().unwrap_or("").to_owned();
    events.iter().map(id).collect()
}

/// R78 A job that is identified as it begins has its id in each event, its views, the list of
/// running jobs and its own code.
#[tokio::test(start_paused = true)]
async fn each_event_and_view_has_the_id() {
    let (log, recorder) = recording();
    let (progress, cancel) = (ProgressLayer::new(), CancelLayer::new());
    let (board, handle) = (progress.handle(), cancel.handle());
    let mut service = ServiceBuilder::new()
        .layer(identified())
        .layer(log)
        .layer(progress)
        .layer(cancel)
        .layer(RetryLayer::new().max_retries(1))
        .service(code(|job, n| async move {
            assert_eq!(job.external_id().as_deref(), Some("order-7"));
            job.progress(0.5);
            tokio::time::sleep(secs(1)).await;
            match job.attempt() {
                1 => Err("busy".into()),
                _ => Ok(n),
            }
        }));
    let call = begin(&mut service, 7).await;
    assert_eq!(board.jobs()[0].external_id.as_deref(), Some("order-7"));
    assert_eq!(handle.jobs()[0].external_id.as_deref(), Some("order-7"));
    call.await.unwrap();
    assert_eq!(board.history()[0].external_id.as_deref(), Some("order-7"));
    assert_eq!(ids(&recorder), ["order-7"; 9], "{recorder}");
    recorder.assert_one_terminal_each();
    let job = Job::current();
    assert_eq!(job.external_id(), None, "outside there is no job");
}

/// R78 A job without an id has none anywhere, whether the closure finds none, an empty one, or
/// nobody asks.
#[tokio::test(start_paused = true)]
async fn no_id_and_an_empty_one_are_none() {
    async fn check<S: Service<u32, Response = u32, Error = BoxError>>(
        identify: impl Fn(Stack) -> S,
    ) {
        let (lines, _guard) = Lines::listen();
        let (log, recorder) = recording();
        let progress = ProgressLayer::new();
        let board = progress.handle();
        let inside = ServiceBuilder::new()
            .layer(log)
            .layer(LogLayer::new())
            .layer(progress)
            .service(code(|job, n| async move {
                assert_eq!(job.external_id(), None);
                Ok(n)
            }));
        identify(Stack::new(inside)).oneshot(0).await.unwrap();
        assert_eq!(ids(&recorder), [""; 3]);
        assert_eq!(board.history()[0].external_id, None);
        assert!(board.find_external("").is_empty());
        let fields = lines.fields();
        assert!(fields.iter().all(|line| !line.contains("external_id")));
        assert!(!fields.is_empty());
    }

    check(|inner| identified().layer(inner)).await;
    let empty = JobLayer::unnamed().identified_by(|_: &u32| Some(""));
    check(|inner| empty.layer(inner)).await;
    check(|inner| JobLayer::new("job").layer(inner)).await;
}

/// R78 Inside the layer that began the job, it is identified after `dispatched`: all later events
/// have the id.
#[tokio::test(start_paused = true)]
async fn a_layer_inside_identifies_the_job() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(identified())
        .service(Scripted::<u32, u32>::new().answer(1).strict());
    service.oneshot(7).await.unwrap();
    assert_eq!(ids(&recorder), ["", "order-7", "order-7"]);
}

/// R78 An observer can learn of a late id, through a filter too; if it panics there, it harms
/// nobody.
#[tokio::test(start_paused = true)]
async fn an_observer_learns_of_a_late_id() {
    #[derive(Default)]
    struct Identified(Arc<Mutex<Vec<(JobId, String)>>>);

    impl Observer for Identified {
        fn on_event(&self, _: &Event) {}

        fn on_identified(&self, job: JobId, external_id: &Arc<str>) {
            self.0.lock().unwrap().push((job, external_id.to_string()));
            std::panic::panic_any("an observer's panic");
        }
    }

    for filtered in [false, true] {
        let observer = Identified::default();
        let told = Arc::clone(&observer.0);
        let mut sink = LogLayer::to(observer);
        if filtered {
            sink = sink.level(tower_keep::log::Level::INFO);
        }
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(sink.clone())
            .layer(log)
            .layer(identified())
            .layer(JobLayer::unnamed().identified_by(|_: &u32| Some("later")))
            .service(Scripted::<u32, u32>::new().answer(1).strict());
        service.oneshot(7).await.unwrap();
        let expected = (recorder.job(), "order-7".to_owned());
        assert_eq!(*told.lock().unwrap(), [expected]);
        // A job that has it from the first event on has no such event.
        let service = ServiceBuilder::new()
            .layer(identified())
            .layer(sink)
            .service(Scripted::<u32, u32>::new().answer(1).strict());
        service.oneshot(8).await.unwrap();
        assert_eq!(told.lock().unwrap().len(), 1);
    }
}

/// R78 Whichever layers stand around, the id reaches the job.
#[tokio::test(start_paused = true)]
async fn any_layer_may_stand_around() {
    async fn check<L>(name: &str, layer: L)
    where
        L: Layer<Stack>,
        L::Service: Service<u32, Response = u32, Error = BoxError>,
    {
        let (log, recorder) = recording();
        let plain = Stack::new(code(|job, n| async move {
            job.progress(0.5);
            Ok(n)
        }));
        let service = log.layer(layer.layer(Stack::new(identified().layer(plain))));
        assert_eq!(service.oneshot(1).await.unwrap(), 1, "{name}");
        recorder.assert_one_terminal_each();
        let ids = ids(&recorder);
        // Started, a report and the end; with a retry also the end of the attempt.
        assert!((4..=5).contains(&ids.len()), "{name}: {ids:?}");
        assert!(ids[1..].iter().all(|id| id == "order-1"), "{name}: {ids:?}");
    }

    check_each_layer!(check);
}

/// R78 A pipeline whose job a layer around it identifies: its board and its cancel handle know the
/// id.
#[tokio::test(start_paused = true)]
async fn around_a_pipeline() {
    let pipeline = Pipeline::new().build().unwrap();
    let (board, cancel) = (pipeline.progress().handle(), pipeline.cancel().handle());
    let mut service = ServiceBuilder::new()
        .layer(identified())
        .layer(pipeline)
        .service(Scripted::<u32, u32>::new().never());
    let call = begin(&mut service, 3).await;
    assert_eq!(board.find_external("order-3").len(), 1);
    assert_eq!(
        cancel.cancel_external("order-3", tower_keep::CancelReason::Requested),
        1
    );
    assert_eq!(reason(&call.await.unwrap_err()).to_string(), "requested");
}

/// R78 No id is lost: a name given elsewhere does not stand in its way.
#[tokio::test(start_paused = true)]
async fn an_id_is_not_lost() {
    // The outer layer names, the inner one identifies, and the other way round.
    for named_outside in [true, false] {
        let (log, recorder) = recording();
        let name = || JobLayer::new("import");
        let service = ServiceBuilder::new()
            .option_layer(named_outside.then(name))
            .layer(log)
            .layer(identified())
            .option_layer((!named_outside).then(name))
            .service(Scripted::<u32, u32>::new().answer(1).strict());
        service.oneshot(7).await.unwrap();
        let last = recorder.events_of(recorder.job()).pop().unwrap();
        assert_eq!(&*last.name, "import");
        assert_eq!(last.external_id.as_deref(), Some("order-7"));
    }

    // Two that identify: the outer one counts, unless it finds no id.
    for (outer, expected) in [
        (Some("outer"), "outer"),
        (None, "order-7"),
        (Some(""), "order-7"),
    ] {
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(JobLayer::unnamed().identified_by(move |_: &u32| outer))
            .layer(log)
            .layer(identified())
            .service(Scripted::<u32, u32>::new().answer(1).strict());
        service.oneshot(7).await.unwrap();
        assert_eq!(ids(&recorder).last().unwrap(), expected);
    }
}

/// R78 At most 256 bytes of an id are kept, whole characters; and the whole id still finds the job.
#[tokio::test(start_paused = true)]
async fn a_long_id_is_cut() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let id = |n: &u32| Some(format!("{}é{}", "x".repeat(255), "y".repeat(*n as usize)));
    let service = ServiceBuilder::new()
        .layer(JobLayer::unnamed().identified_by(id))
        .layer(progress)
        .service(Scripted::<u32, u32>::new().answer(1).answer(1));
    service.clone().oneshot(100_000).await.unwrap();
    service.oneshot(0).await.unwrap();
    let kept = "x".repeat(255);
    let found = board.find_external(&id(&5).unwrap());
    assert_eq!(found.len(), 2);
    for job in found {
        assert_eq!(job.external_id.as_deref(), Some(&*kept));
    }
    assert_eq!(board.find_external(&kept).len(), 2);
    assert_eq!(board.find_external(&kept[1..]).len(), 0);
}

/// R78 An id that a stranger chose cannot forge a log record: the field is escaped where it is
/// written.
#[tokio::test(start_paused = true)]
async fn an_id_is_one_field_of_the_log() {
    let (lines, _guard) = Lines::listen();
    let service = ServiceBuilder::new()
        .layer(JobLayer::unnamed().identified_by(|_: &u32| Some("a\nERROR \u{1b}[31mforged")))
        .layer(LogLayer::new())
        .service(Scripted::<u32, u32>::new().answer(1).strict());
    service.oneshot(1).await.unwrap();
    let fields = lines.fields();
    assert_eq!(fields.len(), 3);
    for line in fields {
        let escaped = r#"job.external_id="a\nERROR \u{1b}[31mforged""#;
        assert!(line.contains(escaped), "{line}");
        assert!(!line.contains(['\n', '\u{1b}']));
    }
}

/// R78 A panic of the closure ends the job, if a layer around began one, and goes on to the caller.
/// The service is not called.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_closure() {
    let panics =
        || JobLayer::unnamed().identified_by(|_: &u32| -> Option<String> { panic!("no id") });
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new();
    let mut service = ServiceBuilder::new()
        .layer(log.clone())
        .layer(panics())
        .service(inner.clone());
    service.ready().await.unwrap();
    let call = std::panic::AssertUnwindSafe(|| drop(service.call(1)));
    std::panic::catch_unwind(call).unwrap_err();
    recorder.assert_names(["dispatched", "failed"]);
    match &recorder.kinds()[1] {
        EventKind::Failed { cause, error } => {
            assert_eq!(*cause, FailureCause::Panicked);
            assert!(error.contains("no id"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(inner.calls().count(), 0);

    recorder.clear();
    let mut outermost = panics().layer(log.layer(inner.clone()));
    outermost.ready().await.unwrap();
    let call = std::panic::AssertUnwindSafe(|| drop(outermost.call(1)));
    std::panic::catch_unwind(call).unwrap_err();
    assert!(recorder.jobs().is_empty(), "no job began: {recorder}");
    assert_eq!(inner.calls().count(), 0);
    assert_eq!(Job::current().id(), None, "no job is left ambient");
}

/// R78 A dispatcher identifies its jobs before their first event, whatever the order of `named` and
/// `identified_by`. Rejected jobs have their id too. An id of the stack comes second.
#[tokio::test(start_paused = true)]
async fn a_dispatched_job() {
    let stack = || {
        ServiceBuilder::new()
            .layer(JobLayer::unnamed().identified_by(|_: &u32| Some("stack")))
            .service(code(|_, n| async move {
                tokio::time::sleep(secs(1)).await;
                Ok(n)
            }))
    };
    let by_number = |n: &u32| Some(format!("order-{n}"));
    let one = std::num::NonZeroUsize::MIN;
    let first = Dispatcher::new(stack())
        .named("import")
        .identified_by(by_number)
        .limit(one);
    let then = Dispatcher::new(stack())
        .identified_by(by_number)
        .named("import")
        .limit(one);
    // The two are of one type, in whichever order their setters came.
    for jobs in [first, then] {
        let mut events = jobs.progress_handle().subscribe();
        let job = jobs.dispatch(1);
        assert_eq!(
            (job.name(), job.external_id().as_deref()),
            ("import", Some("order-1"))
        );
        jobs.dispatch(2).await.unwrap_err();
        assert_eq!(jobs.find_external("order-1")[0].job, job.id());
        assert!(jobs.find_external("order-2")[0].state.is_terminal());
        let again = jobs.clone();
        assert_eq!(
            jobs.cancel_handle()
                .cancel_external("order-1", tower_keep::CancelReason::Requested),
            1
        );
        job.await.unwrap_err();
        let placed = again.reserve().await.unwrap().dispatch(3);
        assert_eq!(placed.external_id().as_deref(), Some("order-3"));
        assert_eq!(placed.await.unwrap(), 3);
        let mut seen = 0;
        while let Some(event) = events.try_recv() {
            assert!(event.unwrap().external_id.unwrap().starts_with("order-"));
            seen += 1;
        }
        assert!(seen >= 7, "{seen}");
    }

    // Where the dispatcher gives none, the stack's counts, though the stack keeps the call waiting
    // for its readiness.
    let waits = ServiceBuilder::new().concurrency_limit(1).service(stack());
    let jobs = Dispatcher::new(waits).named("import");
    let (one, two) = (jobs.dispatch(1), jobs.dispatch(2));
    one.await.unwrap();
    tokio::time::sleep(ms(500)).await;
    assert_eq!(
        (two.name(), two.external_id().as_deref()),
        ("import", Some("stack"))
    );
}
