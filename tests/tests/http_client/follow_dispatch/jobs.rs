//! The dispatched job among other jobs, while its body is read.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http::Request;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Dispatcher, EventKind, Job, JobId, JobLayer,
    LogLayer, ProgressLayer, Report, TimeoutLayer, find, job::Elapsed, progress::JobState,
};
use tower_keep_test::{Recorder, secs};
use tower_keep_tests::servers;

use super::{
    super::{
        follow::{
            Step::{self, Data, Pends, Runs},
            Steps, end, ended_of, get, poll,
        },
        follow_cancel::Alive,
    },
    ONE, assert_idle, page, read, state,
};

/// What the code of a body sees.
type Seen = Arc<Mutex<Vec<(Option<JobId>, Option<Instant>, bool)>>>;

fn notes(seen: &Seen) -> Step {
    let seen = Arc::clone(seen);
    Runs(Box::new(move || {
        let job = Job::current();
        let found = (job.id(), job.deadline(), job.is_cancelled());
        seen.lock().unwrap().push(found);
    }))
}

/// R84 The code of the body runs in the dispatched job, wherever it is read. The reader's own job,
/// its limits and its grace period do not apply to it.
#[tokio::test(start_paused = true)]
async fn apart_from_the_reader() -> Result<(), BoxError> {
    let seen = Seen::default();
    let steps = [notes(&seen), Data("a "), notes(&seen), Data("page")];
    let jobs = Dispatcher::new(page(Steps::new(steps))).http();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    let mut body = handle.await?.into_body();
    assert!(poll(&mut body).is_ready());
    assert_eq!(Job::current().id(), None);
    let reader = TimeoutLayer::new(secs(10)).grace(secs(10));
    let reader = ServiceBuilder::new()
        .layer(JobLayer::new("reader"))
        .layer(reader);
    let reader = reader.service(service_fn(|body| async move {
        let own = Job::current();
        assert!(own.deadline().is_some());
        own.cancelled().await;
        assert_eq!(read(body).await?, "page");
        assert_eq!(Job::current().id(), own.id());
        assert!(own.is_cancelled() && own.deadline().is_some());
        Ok::<_, BoxError>(())
    }));
    let error = reader.oneshot(body).await.unwrap_err();
    assert!(find::<Elapsed>(&*error).is_some());
    assert_eq!(*seen.lock().unwrap(), [(Some(job), None, false); 2]);
    assert_eq!(state(&jobs, job), JobState::Succeeded);
    Ok(())
}

/// R84 The job's own limits apply to the code of its body.
#[tokio::test(start_paused = true)]
async fn its_own_limits_apply() -> Result<(), BoxError> {
    let seen = Seen::default();
    let steps = [notes(&seen), Data("page")];
    let stack = TimeoutLayer::http(secs(60)).layer(page(Steps::new(steps)));
    let jobs = Dispatcher::new(stack).http();
    let start = Instant::now();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    assert_eq!(read(handle.await?.into_body()).await?, "page");
    assert_eq!(
        *seen.lock().unwrap(),
        [(Some(job), Some(start + secs(60)), false)]
    );
    Ok(())
}

/// R84 A call that the body's code makes is a child of the dispatched job. Its failure is not the
/// body's, and it is cancelled with the job.
#[tokio::test(start_paused = true)]
async fn calls_of_the_body_are_children() {
    let recorder = Recorder::new();
    let log = LogLayer::to(recorder.clone());
    let hangs = Arc::new(Mutex::new(
        Vec::<BoxFuture<'static, Result<(), BoxError>>>::new(),
    ));
    let (calls, kept) = (log.clone(), Arc::clone(&hangs));
    let makes_calls = Runs(Box::new(move || {
        let fails = service_fn(|(): ()| async { Err::<(), BoxError>("refused".into()) });
        let call = calls.layer(fails).oneshot(());
        futures::FutureExt::now_or_never(call).unwrap().unwrap_err();
        let hangs = service_fn(|(): ()| std::future::pending::<Result<(), BoxError>>());
        let hanging = CancelLayer::new().layer(calls.layer(hangs)).oneshot(());
        let mut hanging = Box::pin(hanging);
        assert!(futures::FutureExt::now_or_never(&mut hanging).is_none());
        kept.lock()
            .unwrap()
            .push(hanging as futures::future::BoxFuture<'static, _>);
    }));
    let body = Steps::new([Data("a "), makes_calls, Pends]);
    let jobs = Dispatcher::new(page(body)).limit(ONE).http();
    let mut handle = jobs.dispatch(get());
    let job = handle.id();
    let mut body = (&mut handle).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_pending());
    let [failed, hanging] = recorder.jobs()[..] else {
        panic!("two children")
    };
    assert_eq!(servers::parent(&recorder, failed), Some(job));
    assert_eq!(servers::parent(&recorder, hanging), Some(job));
    let kind = recorder.terminal(failed).unwrap();
    assert!(matches!(kind, EventKind::Failed { .. }));
    assert_eq!(state(&jobs, job), JobState::Running);
    assert!(handle.cancel_because("enough"));
    let call = hangs.lock().unwrap().pop().unwrap();
    assert_eq!(call.await.unwrap_err().to_string(), "job cancelled: enough");
    assert_idle(&jobs);
}

/// R84 A dispatched job whose caller is a job: its body goes on when that job ends, is cancelled, or
/// is out of time, until the reader drops it.
#[tokio::test(start_paused = true)]
async fn the_job_that_dispatches_is_its_parent_by_name_only() -> Result<(), BoxError> {
    let recorder = Recorder::new();
    let body = Steps::new([Data("a "), Pends, Data("page")]);
    let stack = LogLayer::http_to(recorder.clone()).layer(page(body));
    let jobs = Dispatcher::new(stack).http();
    let dispatcher = jobs.clone();
    let cancel = CancelLayer::new();
    let parents = cancel.handle();
    let parent = cancel.layer(service_fn(move |()| {
        let jobs = dispatcher.clone();
        async move {
            let response = jobs.dispatch(get()).await?;
            Ok::<_, BoxError>((Job::current().id(), response))
        }
    }));
    let (parent, response) = parent.oneshot(()).await?;
    let job = recorder.job();
    assert_eq!(servers::parent(&recorder, job), parent);
    assert!(parents.jobs().is_empty());
    assert_eq!(state(&jobs, job), JobState::Running);
    let mut body = response.into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_pending());
    assert_eq!(read(body).await?, "page");
    assert_eq!(end(&recorder), Some(("succeeded".into(), "complete")));
    Ok(())
}

/// R84 If the job that reads a body is cancelled or out of time, it drops the body. The dispatched
/// job ends as dropped, neither cancelled nor stalled, and its circuit counts no failure.
#[tokio::test(start_paused = true)]
async fn a_reader_that_is_stopped() {
    for by in ["cancellation", "limit", "attempt"] {
        let (recorder, alive) = (Recorder::new(), Alive::default());
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let stack = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(breaker)
            .service(page(alive.body(1)));
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let cancel = CancelLayer::new();
        let readers = cancel.handle();
        let limit = |of| if by == of { secs(1) } else { secs(600) };
        let reader = ServiceBuilder::new()
            .layer(cancel)
            .layer(TimeoutLayer::new(limit("limit")))
            .layer(TimeoutLayer::new(limit("attempt")).per_attempt())
            .service(service_fn(read));
        let body = jobs.dispatch(get()).await.unwrap().into_body();
        let call = tokio::spawn(reader.oneshot(body));
        sleep(secs(1) / 2).await;
        assert_eq!(end(&recorder), None);
        if by == "cancellation" {
            assert_eq!(readers.cancel_all("enough"), 1);
        }
        call.await.unwrap().unwrap_err();
        assert_eq!(
            end(&recorder),
            Some(("succeeded".into(), "dropped")),
            "{by}"
        );
        let circuit = &circuits.circuits()[0].1;
        assert_eq!(circuit.snapshot().failures_in_a_row, 0, "{by}");
        assert_eq!(alive.count(), 0);
        assert_idle(&jobs);
    }
}

/// R84 The names, the external id and the reports of a job reach to the end of its body. A
/// `ProgressLayer::http` in the stack reports the bytes.
#[tokio::test(start_paused = true)]
async fn the_board_until_the_end() -> Result<(), BoxError> {
    let body = Steps::new([Data("a "), Data("page")]).exact();
    let stack = ProgressLayer::http().layer(page(body));
    let jobs = Dispatcher::new(stack)
        .http()
        .named_by(|request: &Request<String>| request.uri().path().to_owned())
        .identified_by(|_: &Request<String>| Some("7f3a"));
    let handle = jobs.dispatch(get());
    let job = handle.id();
    let mut body = handle.await?.into_body();
    assert!(poll(&mut body).is_ready());
    let view = &jobs.find_external("7f3a")[0];
    assert_eq!((view.job, &*view.name), (job, "/"));
    assert_eq!(view.state, JobState::Running);
    assert_eq!(view.report, Report::bytes(0, Some(6)));
    assert_eq!(read(body).await?, "page");
    let view = jobs.find(job).unwrap();
    assert_eq!(view.state, JobState::Succeeded);
    assert_eq!(view.report, Report::bytes(6, Some(6)));
    Ok(())
}

/// R84 Two dispatchers, one in the other's stack: each job ends with the body, and frees its own
/// permit.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_inside() -> Result<(), BoxError> {
    let recorder = Recorder::new();
    let log = LogLayer::http_to(recorder.clone());
    let inner = Dispatcher::new(log.layer(page(Steps::new([Data("a page")]))));
    let inner = inner.limit(ONE).http();
    let pages = inner.clone();
    let stack = service_fn(move |request: Request<String>| pages.dispatch(request));
    let outer = Dispatcher::new(log.layer(stack)).limit(ONE).http();
    let response = outer.dispatch(get()).await?;
    assert_eq!((outer.in_flight(), inner.in_flight()), (1, 1));
    assert_eq!(read(response.into_body()).await?, "a page");
    for job in recorder.jobs() {
        let (kind, _) = ended_of(&recorder, job).unwrap();
        assert_eq!(kind, EventKind::Succeeded);
    }
    assert_eq!(recorder.jobs().len(), 2);
    assert_idle(&outer);
    assert_idle(&inner);
    Ok(())
}
