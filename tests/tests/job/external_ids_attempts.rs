//! Ids from outside that a later attempt brings.

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, Event, Job, JobLayer, LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

use super::external_ids::{identified, ids};

/// R78 A request that has its id at the second attempt only, and another at the third: the first
/// one is the job's.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_has_the_id() {
    let (log, recorder) = recording();
    let attempt = || (Job::current().attempt() - 1).to_string();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(
            JobLayer::unnamed().identified_by(move |_: &u32| match &*attempt() {
                "0" => None,
                number => Some(number.to_owned()),
            }),
        )
        .service(
            Scripted::<u32, u32>::new()
                .error("1")
                .error("2")
                .answer(1)
                .strict(),
        );
    service.oneshot(7).await.unwrap();
    let ids = ids(&recorder);
    assert_eq!(ids[..5], [""; 5], "{recorder}");
    assert_eq!(ids[5..], ["1"; 5], "{recorder}");
}

/// R78 The first id is the job's also where a foreign layer makes the attempts, whichever layer
/// began the job.
#[tokio::test(start_paused = true)]
async fn a_foreign_layer_makes_the_attempts() {
    async fn check<L>(name: &str, outer: L)
    where
        L: Layer<Stack>,
        L::Service: Service<u32, Response = u32, Error = BoxError>,
    {
        let (log, recorder) = recording();
        let progress = ProgressLayer::new();
        let board = progress.handle();
        // Attempts 0, 1 and 2, of which the first has no id.
        let attempts = ServiceBuilder::new()
            .layer(tower::retry::RetryLayer::new(CountsOn))
            .layer(identified())
            .layer(log)
            .layer(progress)
            .service(code(|job, n| async move {
                let id = (n > 0).then_some("order-1");
                assert_eq!(job.external_id().as_deref(), id);
                if n < 2 { Err("busy".into()) } else { Ok(n) }
            }));
        outer.layer(Stack::new(attempts)).oneshot(0).await.unwrap();
        let ids = ids(&recorder);
        assert_eq!(ids.last().unwrap(), "order-1", "{name}: {recorder}");
        assert_eq!(board.find_external("order-1").len(), 1, "{name}");
        assert!(board.find_external("order-2").is_empty(), "{name}");
    }

    check("log", LogLayer::to(|_: &Event| {})).await;
    check("progress", ProgressLayer::new()).await;
    check("cancel", CancelLayer::new()).await;
    check("detached", CancelLayer::new().detached()).await;
    check("timeout", TimeoutLayer::new(secs(1))).await;
    check("idle", TimeoutLayer::new(secs(1)).idle()).await;
    check("retry", RetryLayer::new()).await;
}
