//! The recorder, fed by real jobs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_keep::{EventKind, LogLayer, Observer};
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
        panic_of(|| recorder.assert_names_of(recorder.job(), [])).contains("the events of job ")
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
