//! Callers of a shared execution that leave, fail or are cancelled: the others get their result.

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Dispatcher, Job, JobHandle, TimeoutLayer,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// A client that joins identical calls, used by a server's jobs: where the caller that began the
/// shared execution goes away, the other one still gets its response.
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

/// The first caller's job is cancelled, and the shared code looks at its own cancellation: the
/// other caller still gets its response.
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
    let leader = handle.jobs()[0].job;
    let second = tokio::spawn(server.oneshot(2));
    tokio::time::sleep(ms(1)).await;
    assert!(handle.cancel_because(leader, CancelReason::Requested));
    first.await.unwrap().unwrap_err();
    assert_eq!(second.await.unwrap().unwrap(), 1);
}

/// A job that the shared code has begun in another task is cancelled when the last caller leaves,
/// though the caller whose job it works for left before.
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

/// Work of ten seconds that stops when it is cancelled.
fn heeds()
-> impl Service<u32, Response = u32, Error = BoxError, Future = Work> + Clone + Send + Sync {
    code(|job, request| async move {
        tokio::select! {
            () = job.cancelled() => Err("told to stop".into()),
            () = tokio::time::sleep(secs(10)) => Ok(request),
        }
    })
}

/// R11, R54b: cancelling a job that has left the execution does nothing to the jobs that are left
/// in it.
#[tokio::test(start_paused = true)]
async fn cancelling_who_left_harms_no_other() {
    type Again = fn(JobHandle<u32, BoxError>);
    let again: [(&str, Again); 3] = [
        ("cancelled again", |handle| assert!(!handle.cancel())),
        ("dropped", |handle| drop(handle.cancel_on_drop())),
        ("dropped after it was cancelled", |handle| {
            let handle = handle.cancel_on_drop();
            assert!(!handle.cancel());
        }),
    ];
    for (how, again) in again {
        let jobs = Dispatcher::new(by_number().join().layer(heeds()));
        let (first, second) = (jobs.dispatch(1), jobs.dispatch(1));
        tokio::time::sleep(secs(1)).await;
        assert!(first.cancel());
        first.progress().ended().await;
        again(first);
        assert_eq!(second.await.unwrap(), 1, "{how}");
    }
}

/// R54b: the end of a job whose handle cancels when it is dropped harms no other, however the job
/// ended: cancelled, or by its own time limit.
#[tokio::test(start_paused = true)]
async fn the_handle_of_a_job_that_ended_harms_no_other() {
    for cancelled in [true, false] {
        let stack = ServiceBuilder::new()
            .layer(TimeoutLayer::none().limit_by(|request: &u32| Some(secs(u64::from(*request)))))
            .layer(DedupLayer::new(|_: &u32| Some(())).join())
            .service(heeds());
        let jobs = Dispatcher::new(stack);
        let first = jobs.dispatch(3).cancel_on_drop();
        tokio::task::yield_now().await;
        let second = jobs.dispatch(60);
        tokio::time::sleep(secs(1)).await;
        if cancelled {
            assert!(jobs.cancel_handle().cancel(first.id()));
        }
        // It is over, and its handle is dropped here.
        first.await.unwrap_err();
        assert_eq!(second.await.unwrap(), 3);
    }
}

/// R2, R54b: a call that a newer one replaces leaves what it shares with others to them.
#[tokio::test(start_paused = true)]
async fn a_replaced_caller_harms_no_other() {
    // A user's newest query counts, and equal queries of all users are one.
    let searches = ServiceBuilder::new()
        .layer(DedupLayer::new(|(user, _): &(u32, u32)| Some(*user)).latest())
        .layer(DedupLayer::new(|(_, query): &(u32, u32)| Some(*query)).join())
        .service(service_fn(|(_, query): (u32, u32)| async move {
            for _ in 0..5 {
                Job::current().checkpoint()?;
                tokio::time::sleep(secs(1)).await;
            }
            Ok::<_, BoxError>(query)
        }));
    for cancels in [false, true] {
        let service = searches.clone();
        let service = if cancels {
            quiet()
                .layer(CancelLayer::new().layer(service))
                .boxed_clone()
        } else {
            quiet().layer(service).boxed_clone()
        };
        let first = tokio::spawn(service.clone().oneshot((1, 7)));
        tokio::task::yield_now().await;
        let other = tokio::spawn(service.clone().oneshot((2, 7)));
        tokio::time::sleep(ms(1500)).await;
        let newer = tokio::spawn(service.oneshot((1, 8)));
        first.await.unwrap().unwrap_err();
        assert_eq!(other.await.unwrap().unwrap(), 7);
        assert_eq!(newer.await.unwrap().unwrap(), 8);
    }
}

/// R11: a Cancel layer inside a joined execution stops it for all at its shutdown's deadline, with
/// another such layer around the callers or without.
#[tokio::test(start_paused = true)]
async fn a_layer_inside_shuts_the_execution_down() {
    for around in [false, true] {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let inner = Scripted::<u32, u32, BoxError>::new().never();
        let calls = inner.calls();
        let service = by_number().join().layer(cancel.layer(inner));
        let service = if around {
            Stack::new(CancelLayer::new().layer(service))
        } else {
            Stack::new(service)
        };
        let first = tokio::spawn(service.clone().oneshot(0));
        tokio::task::yield_now().await;
        let second = tokio::spawn(service.oneshot(0));
        tokio::time::sleep(secs(1)).await;
        let told = timeout(secs(3600), handle.shutdown(secs(10))).await;
        assert_eq!(told.expect("it is bounded").cancelled, 1);
        first.await.unwrap().unwrap_err();
        second.await.unwrap().unwrap_err();
        assert_eq!(calls.dropped(), 1);
    }
}

/// R11: the token of a Cancel layer inside a joined execution stops it: nothing is executed after
/// the token fired.
#[tokio::test(start_paused = true)]
async fn a_token_inside_stops_the_execution() {
    let token = CancellationToken::new();
    token.cancel();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 7);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(CancelLayer::new())
        .layer(by_number().join())
        .layer(CancelLayer::new().token(token))
        .service(inner);
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
    assert_eq!(calls.count(), 0);
}

/// R54b: a job that was cancelled before it began the execution, as one does that cleans up through
/// a client, has no other stopped that joins it.
#[tokio::test(start_paused = true)]
async fn a_leader_that_was_cancelled_before_harms_no_other() {
    let client = ServiceBuilder::new()
        .layer(quiet())
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .service(code(|job, _| async move {
            tokio::time::sleep(ms(10)).await;
            job.checkpoint()?;
            Ok(1)
        }));
    let cancel = CancelLayer::new().grace(secs(5));
    let handle = cancel.handle();
    let server = ServiceBuilder::new()
        .layer(cancel)
        .service(code(move |job, request| {
            let client = client.clone();
            async move {
                if request == 1 {
                    job.cancelled().await;
                }
                client.oneshot(request).await
            }
        }));
    let first = tokio::spawn(server.clone().oneshot(1));
    tokio::task::yield_now().await;
    assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
    tokio::task::yield_now().await;
    assert_eq!(server.oneshot(2).await.unwrap(), 1);
    first.await.unwrap().unwrap_err();
}

/// R8: where the work goes on for another one, there is no reason for which it would be cancelled.
#[tokio::test(start_paused = true)]
async fn work_that_goes_on_has_no_reason_to_stop() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(by_number().join())
        .service(code(|job, request| async move {
            tokio::time::sleep(secs(2)).await;
            assert_eq!((job.is_cancelled(), job.cancel_reason()), (false, None));
            Ok(request)
        }));
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    let second = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel(handle.jobs()[0].job));
    first.await.unwrap().unwrap_err();
    assert_eq!(second.await.unwrap().unwrap(), 1);
}
