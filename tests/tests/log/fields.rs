//! The fields of the records.

use std::time::Duration;

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, DedupLayer, JobLayer, LogLayer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

/// The value of a field, as the subscriber writes it.
#[track_caller]
fn value<'a>(fields: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=");
    let found = fields.split_once(&start);
    let (_, rest) = found.unwrap_or_else(|| panic!("no {name} in {fields}"));
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap(),
        None => rest.split(' ').next().unwrap(),
    }
}

/// The fields of the only record with this message.
#[track_caller]
fn record(lines: &Lines, message: &str) -> String {
    let all = lines.records().into_iter().zip(lines.fields());
    let mut found: Vec<_> = all
        .filter(|(record, _)| record.split_once(' ').unwrap().1 == message)
        .collect();
    assert_eq!(found.len(), 1, "{message}: {:?}", lines.records());
    found.remove(0).1
}

/// R76 The record of a job without a name has no field for it.
#[tokio::test(start_paused = true)]
async fn an_unnamed_job_has_no_name_field() {
    let answer = || Scripted::<u32, u32>::new().answer(1).strict();
    let (lines, _guard) = Lines::listen();
    let unnamed = ServiceBuilder::new()
        .layer(LogLayer::new())
        .service(answer());
    unnamed.oneshot(0).await.unwrap();
    let fields = lines.fields();
    assert!(!fields.is_empty());
    for fields in fields {
        assert!(!fields.contains("job.name"), "{fields}");
    }
    let (lines, _guard) = Lines::listen();
    let named = ServiceBuilder::new()
        .layer(JobLayer::new("import"))
        .layer(LogLayer::new())
        .service(answer());
    named.oneshot(0).await.unwrap();
    for fields in lines.fields() {
        assert_eq!(value(&fields, "job.name"), "import");
    }
}

/// R76 Every time is a number of milliseconds, whatever its size.
#[tokio::test(start_paused = true)]
async fn times_are_numbers_in_one_unit() {
    let (lines, _guard) = Lines::listen();
    let inner = Scripted::<u32, u32>::new()
        .error_after(Duration::from_micros(1_500), "no")
        .never();
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .cooldown(secs(90));
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(breaker)
        .layer(TimeoutLayer::new(secs(5)))
        .layer(RetryLayer::new().base_delay(ms(2_250)))
        .service(inner.strict());
    service.oneshot(0).await.unwrap_err();
    let scheduled = record(&lines, "retry scheduled");
    assert_eq!(value(&scheduled, "delay_ms"), "2250.0");
    assert_eq!(
        value(&scheduled, "elapsed_ms"),
        "2.0",
        "tokio's timers round up"
    );
    let timed_out = record(&lines, "timed out");
    assert_eq!(value(&timed_out, "limit_ms"), "5000.0");
    assert_eq!(value(&timed_out, "scope"), "overall");
    let opened = record(&lines, "circuit opened");
    assert_eq!(value(&opened, "cooldown_ms"), "90000.0");
    for fields in lines.fields() {
        value(&fields, "elapsed_ms").parse::<f64>().unwrap();
        assert!(!fields.contains("elapsed="), "{fields}");
    }
    let kept = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(
            DedupLayer::new(|key: &u32| Some(*key))
                .join()
                .cache(secs(60)),
        )
        .service(code(|job, _| async move {
            job.step("read", async {
                tokio::time::sleep(ms(3)).await;
                Ok::<_, tower_keep::BoxError>(1)
            })
            .await
        }));
    let (lines, _guard) = Lines::listen();
    kept.clone().oneshot(0).await.unwrap();
    tokio::time::advance(secs(7)).await;
    kept.oneshot(0).await.unwrap();
    let step = record(&lines, "step succeeded");
    assert_eq!(value(&step, "took_ms"), "3.0");
    let answered = record(&lines, "cache hit");
    assert_eq!(value(&answered, "age_ms"), "7000.0");
}

/// R76 A cause and a reason are the words of their `Display`, as text.
#[tokio::test(start_paused = true)]
async fn causes_and_reasons_are_words() {
    let (lines, _guard) = Lines::listen();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(cancel)
        .layer(TimeoutLayer::new(secs(1)))
        .service(Scripted::<u32, u32>::new().never().repeat_last().strict());
    begin(&mut service, 0).await.await.unwrap_err();
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::task::yield_now().await;
    handle.cancel_because(handle.jobs()[0].job, "shutting the shop");
    call.await.unwrap().unwrap_err();
    let failed = record(&lines, "failed");
    assert!(failed.contains(r#"cause="timed out" "#), "{failed}");
    let cancelled = record(&lines, "cancelled");
    assert!(
        cancelled.contains(r#"reason="shutting the shop" "#),
        "{cancelled}"
    );
}
