//! Events, views and snapshots as another program gets them.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, DedupLayer, Event, JobId, JobLayer, ProgressLayer, Ratio,
    RetryLayer,
    cancel::RunningJob,
    circuit_breaker::{State, Transition},
    dedup::InFlight,
    progress::{BoardSnapshot, JobState, JobView},
    retry::RetryBudget,
};
use tower_keep_tests::*;

/// R78 A board goes to another program as it is, and each change of it: what it is there is what it
/// is here.
#[tokio::test(start_paused = true)]
async fn a_board_and_its_changes() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let (_, mut changes) = board.changes();
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::new("import").identified_by(|n: &u32| Some(format!("order-{n}"))))
        .layer(log)
        .layer(progress)
        .layer(RetryLayer::new().max_retries(1))
        .service(code(|job, n| async move {
            let job = job.steps(2);
            job.step("read", async { Ok::<_, tower_keep::BoxError>(()) })
                .await?;
            sleep(ms(250)).await;
            match n {
                1 => Ok(n),
                _ => Err("disk full".into()),
            }
        }));
    let mut first = tokio_test::task::spawn(begin(&mut service, 1).await);
    assert!(first.poll().is_pending());
    begin(&mut service, 2).await.await.unwrap_err();
    let sent = serde_json::to_string(&board.snapshot()).unwrap();
    let there: BoardSnapshot = serde_json::from_str(&sent).unwrap();
    let here = board.snapshot();
    assert_eq!((there.running.len(), there.history.len()), (1, 1));
    for (there, here) in [
        (&there.running[0], &here.running[0]),
        (&there.history[0], &here.history[0]),
    ] {
        assert_eq!((there.job, &there.name), (here.job, &here.name));
        assert_eq!(there.external_id, here.external_id);
        assert_eq!((&there.state, &there.error), (&here.state, &here.error));
        assert_eq!((&there.report, &there.step), (&here.report, &here.step));
        let apart = there.dispatched_at.max(here.dispatched_at)
            - there.dispatched_at.min(here.dispatched_at);
        assert!(apart < std::time::Duration::from_micros(1), "{apart:?}");
    }
    let failed = &there.history[0];
    assert_eq!(failed.external_id.as_deref(), Some("order-2"));
    assert_eq!(failed.error.as_deref(), Some("disk full"));
    drop(first);

    let mut ended = Vec::new();
    while let Some(change) = changes.try_changed() {
        let sent = serde_json::to_value(&change).unwrap();
        let there: JobView = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(serde_json::to_value(&there).unwrap(), sent);
        if there.state.is_terminal() {
            ended.push(sent["state"].clone());
        }
    }
    let caller_gone = json!({"type": "cancelled", "reason": {"type": "caller_gone"}});
    assert_eq!(
        ended,
        [json!({"type": "failed", "cause": "error"}), caller_gone]
    );

    for event in recorder.events() {
        let sent = serde_json::to_value(&event).unwrap();
        assert_eq!(sent["kind"]["type"], event.kind.name());
        assert_eq!(sent["external_id"], event.external_id.as_deref().unwrap());
        let there: Event = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(there.kind, event.kind);
        assert_eq!(serde_json::to_value(&there).unwrap(), sent);
    }
    assert!(recorder.events().len() > 10);
}

/// R78 A time is what a browser's `new Date(..)` takes: milliseconds since 1970, of now.
#[tokio::test]
#[allow(clippy::disallowed_types, reason = "it is a time of day")]
async fn a_time_is_a_date() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = ServiceBuilder::new()
        .layer(progress)
        .service(code(|_, n| async move { Ok(n) }));
    service.oneshot(1).await.unwrap();
    let view = board.history().pop().unwrap();
    let sent = serde_json::to_value(&view).unwrap();
    let since = view
        .dispatched_at_wall()
        .duration_since(std::time::SystemTime::UNIX_EPOCH);
    let sent = sent["dispatched_at"].as_f64().unwrap();
    assert!((sent - since.unwrap().as_secs_f64() * 1e3).abs() < 0.01);
    // Later than this was written.
    assert!(sent > 1_764_000_000_000.0, "{sent}");
}

/// R78 Ids are keys of a map, in JSON too, and keep all their digits.
#[test]
fn ids_are_keys() {
    let id = |id| JobId::from_u64(id).unwrap();
    let map = BTreeMap::from([(id(7), "one"), (id(u64::MAX), "other")]);
    let sent = serde_json::to_string(&map).unwrap();
    assert_eq!(sent, r#"{"7":"one","18446744073709551615":"other"}"#);
    let there: BTreeMap<JobId, &str> = serde_json::from_str(&sent).unwrap();
    assert_eq!(there, map);
    serde_json::from_str::<BTreeMap<JobId, &str>>(r#"{"seven":"one"}"#).unwrap_err();
}

/// R78 What the other handles show goes along: running jobs, circuits, keys in flight, counts,
/// budgets.
#[tokio::test(start_paused = true)]
async fn what_the_handles_show() {
    let cancel = CancelLayer::new();
    let dedup = DedupLayer::new(|n: &u32| Some(format!("user:{n}")));
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(Ratio::HALF)
        .failure_threshold(0);
    let budget = RetryBudget::default();
    let transitions = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&transitions);
    let breaker = breaker.on_transition(move |transition: &Transition| {
        told.lock()
            .unwrap()
            .push(serde_json::to_value(transition).unwrap());
    });
    let (jobs, circuit, keys) = (cancel.handle(), breaker.handle(), dedup.handle());
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(dedup)
        .layer(breaker)
        .layer(RetryLayer::new().budget(budget.clone()).max_retries(1))
        .service(code(|_, n| async move {
            sleep(secs(1)).await;
            Err(format!("no {n}").into())
        }));
    let mut call = tokio_test::task::spawn(begin(&mut service, 7).await);
    assert!(call.poll().is_pending());

    let running = serde_json::to_value(jobs.jobs()).unwrap();
    assert_eq!(running[0]["attempt"], 1);
    let read: Vec<RunningJob> = serde_json::from_value(running).unwrap();
    assert_eq!(read[0].job, jobs.jobs()[0].job);
    let in_flight = serde_json::to_value(keys.in_flight()).unwrap();
    assert_eq!(in_flight[0]["key"], "user:7");
    let read: Vec<InFlight<String>> = serde_json::from_value(in_flight).unwrap();
    assert_eq!(read[0].job(), Some(jobs.jobs()[0].job));

    call.await.unwrap_err();
    let snapshot = serde_json::to_value(circuit.snapshot()).unwrap();
    assert_eq!(
        (&snapshot["state"], &snapshot["time_until_probe_ms"]),
        (&json!("open"), &json!(30_000.0))
    );
    assert_eq!(
        serde_json::from_value::<State>(snapshot["state"].clone()).unwrap(),
        circuit.state()
    );
    let read =
        serde_json::from_value::<tower_keep::circuit_breaker::CircuitSnapshot>(snapshot).unwrap();
    assert_eq!(read, circuit.snapshot());
    assert_eq!(
        serde_json::to_value(circuit.settings()).unwrap()["failure_rate"],
        0.5
    );
    assert_eq!(transitions.lock().unwrap()[0]["to"], "open");
    assert_eq!(
        serde_json::to_value(keys.counts()).unwrap()["executions"],
        1
    );
    assert_eq!(
        serde_json::to_value(budget.balance()).unwrap(),
        json!({"first_attempts": 1, "retries": 1, "available": 2}),
    );
    let shut = jobs.shutdown(secs(1)).await;
    assert_eq!(serde_json::to_value(shut).unwrap()["finished"], 0);
}

/// R78 A view that a later version wrote, or another program by hand, is read as far as it is
/// known.
#[test]
fn a_view_written_elsewhere() {
    let written = json!({
        "job": "7",
        "name": "import",
        "attempt": 1,
        "dispatched_at": 1_764_439_569_123_u64,
        "changed_at": 1_764_439_569_123.5,
        "report": {"fraction": 0.5, "rate": 12},
        "state": {"type": "running", "since": 3},
        "host": "a-4",
    });
    let view: JobView = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(
        (view.state, view.report.fraction()),
        (JobState::Running, Some(0.5))
    );
    assert_eq!((view.external_id, view.started_at), (None, None));
    for field in [
        "job",
        "name",
        "attempt",
        "dispatched_at",
        "changed_at",
        "report",
        "state",
    ] {
        let mut without = written.clone();
        without.as_object_mut().unwrap().remove(field);
        let error = serde_json::from_value::<JobView>(without).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
    let mut unknown = written;
    unknown["state"] = json!({"type": "paused"});
    let error = serde_json::from_value::<JobView>(unknown).unwrap_err();
    assert!(
        error.to_string().contains("unknown variant `paused`"),
        "{error}"
    );
}
