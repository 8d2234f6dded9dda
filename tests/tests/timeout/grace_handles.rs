//! Who is told to stop at a limit with a grace period, and who is not.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{BoxError, CancelLayer, CancelReason, EventKind, Job, LimitScope};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

use super::grace::limits;

/// R11b: a handle that was taken outside the limit says that the code it is used in is told to stop.
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

/// R11b: a child that began outside the part that is told to stop goes on.
#[tokio::test(start_paused = true)]
async fn what_began_outside_is_left_alone() {
    async fn until_told() -> Result<u32, BoxError> {
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
                let inside = job.step("inside", until_told());
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
