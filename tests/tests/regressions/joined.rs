//! An execution that several callers share is nobody's in particular.

use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, CancelReason, DedupLayer, Job};
use tower_keep_test::{Scripted, Step};

use super::support::*;

/// A client that joins identical calls, used by a server's jobs: where the caller that began the shared execution goes
/// away, the other one still gets its response.
#[tokio::test(start_paused = true)]
async fn the_first_callers_leaving_harms_no_other() {
    let client = ServiceBuilder::new()
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .layer(quiet())
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32, BoxError>::new().answer_after(ms(100), 1));
    let server = ServiceBuilder::new()
        .layer(quiet())
        .service(service_fn(move |request| client.clone().oneshot(request)));
    let first = tokio::spawn(server.clone().oneshot(1));
    tokio::time::sleep(ms(1)).await;
    let second = tokio::spawn(server.oneshot(2));
    tokio::time::sleep(ms(1)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap(), 1);
}

/// The same where the job of that caller is cancelled, and the shared code looks at its own cancellation.
#[tokio::test(start_paused = true)]
async fn the_first_callers_cancellation_harms_no_other() {
    let work = Scripted::<u32, u32, BoxError>::new().otherwise(|| {
        Step::run(async |_| {
            for _ in 0..10 {
                tokio::time::sleep(ms(10)).await;
                Job::current().checkpoint()?;
            }
            Ok(1)
        })
    });
    let client = ServiceBuilder::new()
        .layer(quiet())
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .service(work);
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let server = ServiceBuilder::new()
        .layer(quiet())
        .layer(cancel)
        .service(service_fn(move |request| client.clone().oneshot(request)));
    let first = tokio::spawn(server.clone().oneshot(1));
    tokio::time::sleep(ms(1)).await;
    let leader = handle.running()[0];
    let second = tokio::spawn(server.oneshot(2));
    tokio::time::sleep(ms(1)).await;
    assert!(handle.cancel_because(leader, CancelReason::Requested));
    first.await.unwrap().unwrap_err();
    assert_eq!(second.await.unwrap().unwrap(), 1);
}

/// A job that the shared code has begun in another task is cancelled when the last caller leaves, though the caller whose
/// job it works for left before.
#[tokio::test(start_paused = true)]
async fn a_child_elsewhere_is_cancelled_when_the_last_caller_leaves() {
    let (watched, child) = recording();
    let client = ServiceBuilder::new()
        .layer(watched)
        .layer(CancelLayer::new())
        .service(service_fn(|(): ()| {
            std::future::pending::<Result<(), BoxError>>()
        }));
    let server = ServiceBuilder::new()
        .layer(quiet())
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .service(service_fn(move |_: u32| {
            tokio::spawn(Job::current().scope(client.clone().oneshot(())));
            std::future::pending::<Result<(), BoxError>>()
        }));
    let calls = [1, 2].map(|request| tokio::spawn(server.clone().oneshot(request)));
    tokio::time::sleep(ms(1)).await;
    for (call, ended) in calls.into_iter().zip([0, 1]) {
        call.abort();
        tokio::time::sleep(ms(1)).await;
        assert_eq!(child.count("cancelled"), ended);
    }
}
