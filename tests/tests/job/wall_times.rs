//! The time of day of events and views.

#![allow(clippy::disallowed_types, reason = "what is tested are times of day")]

use std::time::SystemTime;

use tokio::time::{Instant, advance, sleep};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{ProgressLayer, RetryLayer, event::wall_time};
use tower_keep_tests::*;

/// R78 The times of day of a job are as far apart as its moments, on a paused clock too, and begin
/// at about the time it is.
#[tokio::test(start_paused = true)]
async fn times_of_day_follow_the_jobs_clock() {
    let before = SystemTime::now();
    advance(secs(86_400)).await;
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(7200)))
        .service(code(|job, n| async move {
            sleep(ms(1_500)).await;
            match job.attempt() {
                1 => Err("busy".into()),
                _ => Ok(n),
            }
        }));
    service.oneshot(1).await.unwrap();
    let view = board.history().pop().unwrap();
    let dispatched = view.dispatched_at_wall();
    // A day was skipped; the rest is what the machine took, whose clock may be set meanwhile, if
    // only by a little.
    let skipped = dispatched.duration_since(before).unwrap();
    assert!(
        skipped > secs(82_800) && skipped < secs(90_000),
        "{skipped:?}"
    );
    assert_eq!(view.started_at_wall(), Some(dispatched));
    assert_eq!(view.ended_at_wall(), Some(dispatched + secs(7203)));
    assert_eq!(view.changed_at_wall(), dispatched + secs(7203));
    for event in recorder.events() {
        assert_eq!(event.at_wall(), dispatched + event.elapsed);
        assert_eq!(event.at_wall(), wall_time(event.at));
    }
    assert_eq!(recorder.events().len(), 7);
}

/// R78 The same moment has the same time of day in each thread and on each clock, and a time that
/// no clock has is the nearest.
#[test]
fn one_process_has_one_time_of_day() {
    let now = Instant::now();
    let here = wall_time(now);
    for paused in [false, true] {
        let there = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(paused)
                .build()
                .unwrap();
            runtime.block_on(async move {
                if paused {
                    advance(secs(1_000_000)).await;
                }
                let later = wall_time(Instant::now());
                (wall_time(now), later)
            })
        });
        let (there, later) = there.join().unwrap();
        assert_eq!(there, here);
        assert!(later >= here);
    }
    let far = now + secs(100 * 365 * 86_400);
    assert!(wall_time(far) > here);
}
