//! Which code a limit with a grace period stops, and which code it leaves alone.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, EventKind, Job, LimitScope, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

use super::grace::limits;
use super::grace::{assert_failed, cleaning_up, elapsed};

/// R11b: a handle that was taken outside the limit says that the code it is used in is cancelled.
#[tokio::test(start_paused = true)]
async fn a_handle_from_outside_sees_it_inside() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job: Job, _| async move {
            let within = job.clone();
            let (told, said) = tokio::sync::oneshot::channel();
            let step = job.step("a", async move {
                assert!(!within.is_cancelled());
                tokio::time::sleep(secs(2)).await;
                let _ = told.send((within.is_cancelled(), within.cancel_reason()));
                Ok::<_, BoxError>(within.checkpoint().map(|()| 0)?)
            });
            let error = step.limit(secs(1)).grace(secs(10)).await.unwrap_err();
            assert!(!job.is_cancelled(), "{error}");
            assert_eq!(said.await.unwrap(), (true, Some(CancelReason::TimedOut)));
            Ok(1)
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(
        limits(&recorder),
        [(LimitScope::Step("a".into()), 2, false)]
    );
}

/// R11b: a child that began outside the part that is cancelled goes on.
#[tokio::test(start_paused = true)]
async fn what_began_outside_is_left_alone() {
    async fn until_cancelled() -> Result<u32, BoxError> {
        Job::current().cancelled().await;
        Ok(0)
    }
    let (log, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().answer_after(secs(5), 7));
    let service = ServiceBuilder::new()
        .layer(CancelLayer::new())
        .service(code(move |job: Job, _| {
            let client = client.clone();
            async move {
                let outside = job.step("outside", client.oneshot(0));
                let outside = outside.limit(secs(60)).grace(secs(1));
                let inside = job.step("inside", until_cancelled());
                let inside = inside.limit(secs(1)).grace(secs(1));
                let (outside, inside) = tokio::join!(outside, inside);
                inside.unwrap_err();
                outside
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
}

/// R11b: whichever limit expires, the code inside all of them is cancelled, as every handle says
/// that was taken there, in the call itself too; code outside is not.
#[tokio::test(start_paused = true)]
async fn every_handle_inside_says_so() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (inside, between) = (taken.clone(), taken.clone());
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .map_request(move |request: u32| {
            between.lock().unwrap().push(Job::current());
            request
        })
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .layer(TimeoutLayer::new(secs(60)).per_attempt().grace(secs(5)))
        .service(tower::service_fn(move |_: u32| {
            // Within the call, before any poll.
            let job = Job::current();
            let token = job.token();
            let waiting = job.clone();
            let spawned = tokio::spawn(async move { waiting.cancelled().await });
            inside.lock().unwrap().push(job.clone());
            async move {
                spawned.await.unwrap();
                assert!(token.is_cancelled() && job.is_cancelled());
                Err::<u32, BoxError>(job.checkpoint().unwrap_err().into())
            }
        }));
    elapsed(&service.oneshot(0).await.unwrap_err());
    assert_eq!(limits(&recorder), [(LimitScope::Attempt, 10, false)]);
    let told: Vec<_> = taken
        .lock()
        .unwrap()
        .iter()
        .map(Job::is_cancelled)
        .collect();
    assert_eq!(told, [false, true]);
}

/// R5: what works for the job is left alone if the limit is not on the code that began it, or if it
/// goes on without its caller anyway.
#[tokio::test(start_paused = true)]
async fn what_goes_on_anyway_is_left_alone() {
    let (log, recorder) = recording();
    let slow = || {
        code(|_, _| async {
            tokio::time::sleep(secs(100)).await;
            Ok(1)
        })
    };
    let client = ServiceBuilder::new()
        .layer(log.clone())
        .layer(CancelLayer::new())
        .service(slow());
    let detached = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .service(slow());
    let service = ServiceBuilder::new()
        .layer(tower_keep::JobLayer::new("job"))
        .map_request(move |request: u32| {
            let job = Job::current();
            tokio::spawn(job.scope(client.clone().oneshot(0)));
            request
        })
        .layer(
            RetryLayer::new()
                .base_delay(secs(1000))
                .max_delay(secs(1000)),
        )
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(move |job, _| {
            let detached = detached.clone();
            async move {
                if job.attempt() == 1 {
                    return detached.oneshot(0).await;
                }
                Ok(7)
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(recorder.count("succeeded"), 2, "{recorder}");
}

/// R4: jobs that work for the code that is to stop are cancelled; a job that begins during the
/// clean-up is at once, unless it is nobody's child.
#[tokio::test(start_paused = true)]
async fn what_works_for_it_is_cancelled() {
    for per_attempt in [false, true] {
        let limit = if per_attempt {
            TimeoutLayer::new(secs(10)).per_attempt()
        } else {
            TimeoutLayer::new(secs(10))
        };
        let (log, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new())
            .service(code(|_, wait| async move {
                tokio::time::sleep(secs(u64::from(wait))).await;
                Ok(wait)
            }));
        let service = ServiceBuilder::new()
            .layer(limit.grace(secs(60)))
            .service(code(move |_, _| {
                let client = client.clone();
                async move {
                    let error = client.clone().oneshot(100).await.unwrap_err();
                    assert_eq!(reason(&error), CancelReason::TimedOut);
                    let error = client.clone().oneshot(1).await.unwrap_err();
                    assert_eq!(reason(&error), CancelReason::TimedOut);
                    let clean_up = client.oneshot(2);
                    assert_eq!(Job::default().scope(clean_up).await.unwrap(), 2);
                    Err("cleaned up".into())
                }
            }));
        let start = Instant::now();
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(start.elapsed(), secs(12));
        let ended: Vec<_> = recorder
            .jobs()
            .into_iter()
            .map(|job| recorder.terminal(job).unwrap().name())
            .collect();
        assert_eq!(ended, ["cancelled", "cancelled", "succeeded"]);
    }
}

/// R5: the task of a detached job is cancelled too.
#[tokio::test(start_paused = true)]
async fn a_detached_job_gets_the_grace() {
    for (takes, ends, dropped) in [(3, 13, false), (100, 15, true)] {
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
            .layer(CancelLayer::new().detached())
            .service(code(move |job, _| cleaning_up(job, takes)));
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(limits(&recorder), [(LimitScope::Overall, ends, dropped)]);
        assert_failed(&recorder);
    }
}

/// R54b: a caller that joined, or whom others joined, leaves at its limit: the execution is not
/// cancelled, as the others wait for it. A limit inside cancels the execution.
#[tokio::test(start_paused = true)]
async fn only_the_callers_own_work_is_cancelled() {
    let join = || tower_keep::DedupLayer::new(|_: &(u64, u32)| Some(())).join();
    let limit = TimeoutLayer::none().limit_by(|request: &(u64, u32)| Some(secs(request.0)));
    let inner = code(|job, _| async move {
        tokio::time::sleep(secs(20)).await;
        job.checkpoint()?;
        Ok(7)
    });
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(limit.grace(secs(60)))
        .layer(join())
        .map_request(|(_, request): (u64, u32)| request)
        .service(inner);
    let start = Instant::now();
    let [first, second, third] = [10, 12, 30].map(|limit| (limit, 0));
    let first = begin(&mut service, first).await;
    let second = begin(&mut service, second).await;
    let third = tokio::spawn(begin(&mut service, third).await);
    let (first, second) = tokio::join!(tokio::spawn(first), tokio::spawn(second));
    elapsed(&first.unwrap().unwrap_err());
    elapsed(&second.unwrap().unwrap_err());
    assert_eq!(start.elapsed(), secs(12));
    assert_eq!(
        limits(&recorder),
        [
            (LimitScope::Overall, 10, true),
            (LimitScope::Overall, 12, true)
        ]
    );
    assert_eq!(third.await.unwrap().unwrap(), 7);

    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(tower_keep::DedupLayer::new(|_: &u32| Some(())).join())
        .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
        .service(code(|job, _| cleaning_up(job, 2)));
    let calls = [
        tokio::spawn(begin(&mut service, 0).await),
        tokio::spawn(begin(&mut service, 0).await),
    ];
    for call in calls {
        elapsed(&call.await.unwrap().unwrap_err());
    }
    assert_eq!(limits(&recorder), [(LimitScope::Overall, 12, false)]);
    assert_failed(&recorder);
}
