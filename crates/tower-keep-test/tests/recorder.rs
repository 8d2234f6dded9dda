//! The recorder, fed by real jobs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{Event, EventKind, Job, JobId, LogLayer, Observer, RetryLayer, log::Level};
use tower_keep_test::{Recorder, Scripted, Step, ms, secs};

fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(work))
        .err()
        .expect("it should have panicked");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

/// Runs one job per step, one after the other, and records them.
async fn record<const N: usize>(steps: [Step<u32, u32>; N]) -> Recorder {
    let recorder = Recorder::new();
    let service = LogLayer::to(recorder.clone()).layer(Scripted::script(steps));
    for request in 0..N {
        let _ = service
            .clone()
            .oneshot(u32::try_from(request).unwrap())
            .await;
    }
    recorder
}

#[tokio::test(start_paused = true)]
async fn one_job_is_recorded_whole() {
    let recorder = record([Step::answer(1).after(ms(1500))]).await;
    let names = ["dispatched", "started", "succeeded"];
    recorder.assert_names(names);
    recorder.assert_one_terminal_each();

    let job = recorder.job();
    recorder.assert_names_of(job, names);
    assert_eq!(recorder.jobs(), [job]);
    assert_eq!(recorder.names(), names);
    assert_eq!(recorder.names_of(job), names);
    assert_eq!(recorder.kinds(), recorder.kinds_of(job));
    assert_eq!(recorder.kinds()[2], EventKind::Succeeded);
    assert_eq!(recorder.terminal(job), Some(EventKind::Succeeded));
    assert_eq!(recorder.times().last(), Some(&("succeeded", ms(1500))));
    assert_eq!(recorder.times(), recorder.times_of(job));
    assert_eq!(
        (recorder.count("succeeded"), recorder.count("failed")),
        (1, 0)
    );
    assert_eq!(
        (recorder.events().len(), recorder.events_of(job).len()),
        (3, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_are_told_apart() {
    let recorder = record([Step::answer(1), Step::error("x")]).await;
    recorder.assert_one_terminal_each();
    let [first, second] = recorder.jobs()[..] else {
        panic!("{recorder}");
    };
    assert_eq!(recorder.names_of(first).last(), Some(&"succeeded"));
    assert_eq!(recorder.names_of(second).last(), Some(&"failed"));
    assert!(matches!(
        recorder.terminal(second),
        Some(EventKind::Failed { .. })
    ));
    assert!(
        panic_of(|| recorder.job())
            .starts_with("one job expected, 2 recorded\nrecorded: 6 events\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_assertion_prints_the_stream() {
    let recorder = record([Step::error("out of paper")]).await;
    let message = panic_of(|| recorder.assert_names(["dispatched", "succeeded"]));
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 7, "{message}");
    assert_eq!(lines[1], r#"expected: ["dispatched", "succeeded"]"#);
    assert_eq!(lines[2], r#"   found: ["dispatched", "started", "failed"]"#);
    assert_eq!(lines[3], "recorded: 3 events");
    assert!(lines[4].ends_with("dispatched"), "{message}");
    assert!(lines[6].contains("out of paper"), "{message}");
    assert!(
        panic_of(|| recorder.assert_names_of(recorder.job(), []))
            .contains("unexpected events of job ")
    );
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_stream_is_refused() {
    let recorder = Recorder::new();
    assert!(panic_of(|| recorder.assert_one_terminal_each()).starts_with("no event was recorded"));

    // The end is missing, as if the layer had lost it.
    for event in record([Step::answer(1)]).await.events().iter().take(2) {
        recorder.on_event(event);
    }
    let message = panic_of(|| recorder.assert_one_terminal_each());
    assert!(
        message.contains("0 terminal events instead of one"),
        "{message}"
    );
    assert_eq!(recorder.terminal(recorder.job()), None);

    recorder.clear();
    recorder.assert_names([]);
}

#[tokio::test(start_paused = true)]
async fn until_waits_for_an_event() {
    let recorder = Recorder::new();
    let service =
        LogLayer::to(recorder.clone()).layer(Scripted::<u32, u32>::new().answer_after(secs(9), 1));
    let start = Instant::now();
    let task = tokio::spawn(service.oneshot(1));
    recorder
        .until(|recorder| recorder.count("succeeded") == 1)
        .await;
    assert_eq!(start.elapsed(), secs(9));
    assert_eq!(task.await.unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the awaited condition never came\nrecorded: 3 events")]
async fn until_does_not_hang() {
    let recorder = record([Step::answer(1)]).await;
    recorder
        .until(|recorder| recorder.count("failed") == 1)
        .await;
}

/// A job that reports, is tried twice, and succeeds, as this recorder behind this layer's level
/// sees it.
async fn retried(layer: impl FnOnce(LogLayer) -> LogLayer, recorder: &Recorder) {
    let service = ServiceBuilder::new()
        .layer(layer(LogLayer::to(recorder.clone())))
        .layer(RetryLayer::new())
        .service(service_fn(|_: u32| async {
            let job = Job::current();
            job.progress(0.5);
            if job.attempt() == 1 {
                return Err("no");
            }
            Ok(1)
        }));
    service.oneshot(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_level_makes_no_gap() {
    for (level, names) in [
        (
            Level::TRACE,
            &[
                "dispatched",
                "started",
                "progress",
                "attempt_ended",
                "retry_scheduled",
                "retrying",
                "progress",
                "attempt_ended",
                "succeeded",
            ][..],
        ),
        (
            Level::INFO,
            &["dispatched", "retry_scheduled", "succeeded"][..],
        ),
        (Level::WARN, &["retry_scheduled"]),
    ] {
        let recorder = Recorder::new();
        retried(|layer| layer.level(level), &recorder).await;
        recorder.assert_names(names.iter().copied());
        assert_eq!(recorder.gaps(), [], "{level}");
        recorder.assert_one_terminal_each();
    }
    // Two recorders of one job, of which a level hides nothing from one.
    let (all, some) = (Recorder::new(), Recorder::new());
    let other = some.clone();
    let service = LogLayer::to(all.clone()).layer(
        LogLayer::to(other)
            .level(Level::INFO)
            .layer(Scripted::<u32, u32>::new().answer(1)),
    );
    service.oneshot(1).await.unwrap();
    for recorder in [all, some] {
        recorder.assert_one_terminal_each();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_event_is_a_gap() {
    let whole = Recorder::new();
    retried(|layer| layer, &whole).await;
    let events = whole.events();
    // Not the first: without `dispatched` another rule is broken, too.
    for lost in 1..events.len() - 1 {
        let recorder = Recorder::new();
        for event in events.iter().filter(|event| event.seq != lost as u64) {
            recorder.on_event(event);
        }
        let gap = lost as u64..lost as u64 + 1;
        assert_eq!(recorder.gaps(), [(whole.job(), gap)]);
        let message = panic_of(|| recorder.assert_one_terminal_each());
        assert!(message.contains("the sequence numbers have #"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_filter_the_order_and_the_ending_are_checked() {
    // At INFO the job's first and last event are to be there.
    let whole = Recorder::new();
    retried(|layer| layer.level(Level::INFO), &whole).await;
    let events = whole.events();
    let fed = |recorder: Recorder, order: &[usize]| {
        order
            .iter()
            .for_each(|place| recorder.on_event(&events[*place]));
        recorder
    };
    let of = |order: &[usize]| panic_of(|| fed(Recorder::new(), order).assert_one_terminal_each());
    assert!(of(&[0, 1]).contains("0 terminal events"));
    assert!(of(&[1, 2]).contains("the first event is not `dispatched`"));
    assert!(of(&[0, 2, 2]).contains("2 terminal events"));
    assert!(of(&[0, 1, 1, 2]).contains("the sequence numbers have #4 after #4"));

    // A filter of another kind may hide anything, but changes no order.
    let filtered = |order| fed(Recorder::behind_filter(), order);
    for order in [&[0][..], &[1], &[2], &[0, 2], &[1, 2]] {
        filtered(order).assert_one_terminal_each();
        assert_eq!(filtered(order).gaps(), []);
    }
    let message = panic_of(|| filtered(&[2, 0]).assert_one_terminal_each());
    assert!(message.contains("the last event is not terminal"));
    assert!(
        message.contains("the sequence numbers have #0 after #8"),
        "{message}"
    );
    let progress = Recorder::behind_filter();
    let sink = progress.clone();
    let only = move |event: &Event| {
        if event.kind.name() == "progress" {
            sink.on_event(event);
        }
    };
    retried(|_| LogLayer::to(only), &progress).await;
    progress.assert_names(["progress", "progress"]);
    progress.assert_one_terminal_each();
}

/// With time that grows with the square, this would take hours.
#[tokio::test(start_paused = true)]
async fn many_jobs_take_linear_time() {
    const JOBS: usize = 100_000;
    let source = record([Step::answer(1)]).await.events();
    let recorder = Recorder::new();
    let waiting = {
        let recorder = recorder.clone();
        tokio::spawn(async move {
            let all = |recorder: &Recorder| recorder.count("succeeded") == JOBS;
            recorder.until(all).await;
        })
    };
    for number in 1..=JOBS as u64 {
        for event in &source {
            let mut event = event.clone();
            event.job = JobId::from_u64(number).unwrap();
            recorder.on_event(&event);
            // The waiting task looks after each event.
            tokio::task::yield_now().await;
        }
    }
    waiting.await.unwrap();
    let jobs = recorder.jobs();
    assert_eq!(jobs.len(), JOBS);
    for job in jobs {
        assert_eq!(recorder.terminal(job), Some(EventKind::Succeeded));
        assert_eq!(recorder.names_of(job).len(), 3);
    }
    recorder.assert_one_terminal_each();
    assert_eq!(recorder.gaps(), []);
}
