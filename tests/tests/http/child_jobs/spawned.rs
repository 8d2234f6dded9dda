//! Calls from tasks that the handler spawns.

use axum::response::IntoResponse;
use http::StatusCode;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower_keep::{CancelReason, EventKind, Job, cancel::Cancelled, find};
use tower_keep_tests::servers::{Connection, all_ended, bounded, ended, get, parent, reason};

use super::{Fetch, ready_upstream, reply, serve, upstream};

/// Work that a handler spawns belongs to its job where it is given the scope: its calls are
/// children, which end with the job; without the scope it belongs to none.
#[tokio::test]
async fn spawned_work_in_the_jobs_scope() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let (results, mut came) = mpsc::unbounded_channel();
        let (server, keep) = serve((fetch, results), |(fetch, results)| async move {
            let call = move || async move {
                let job = Job::current().id();
                let result = fetch.text().await;
                results.send((job, result)).unwrap();
            };
            tokio::spawn(Job::current().scope(call.clone()()));
            tokio::spawn(call());
            std::future::pending().await
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        entries.recv().await;
        let job = keep.seen.job();
        let mut parents: Vec<_> = fetched
            .jobs()
            .into_iter()
            .map(|child| parent(&fetched, child))
            .collect();
        parents.sort_unstable();
        assert_eq!(parents, [None, Some(job)]);

        keep.cancel.cancel(job);
        assert_eq!(
            client.await.unwrap().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        let (of, result) = came.recv().await.unwrap();
        assert_eq!(of, Some(job));
        let error = result.unwrap_err();
        assert_eq!(
            find::<Cancelled>(&*error).unwrap().reason(),
            &CancelReason::Requested
        );
        // Work that belongs to no job hears of no cancellation.
        held.gate.open();
        let (of, result) = came.recv().await.unwrap();
        assert_eq!((of, result.is_ok()), (None, true));
    })
    .await;
}

/// A spawned task that outlives its handler's answer: the job has ended well, its calls are still
/// its children, and run.
#[tokio::test]
async fn spawned_work_after_the_answer() {
    bounded(async {
        let upstream = ready_upstream().await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let (results, mut came) = mpsc::unbounded_channel();
        let answered = CancellationToken::new();
        let go = answered.clone();
        let (server, keep) = serve((fetch, results, go), |(fetch, results, go)| async move {
            tokio::spawn(Job::current().scope(async move {
                go.cancelled().await;
                results.send(fetch.text().await).unwrap();
            }));
            "accepted".into_response()
        })
        .await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!(answer.text, "accepted");
        let job = keep.seen.job();
        assert_eq!(ended(&keep.seen, job).await, EventKind::Succeeded);
        answered.cancel();
        came.recv().await.unwrap().unwrap();
        assert_eq!(all_ended(&fetched, 1).await, [EventKind::Succeeded]);
        assert_eq!(parent(&fetched, fetched.job()), Some(job));
        keep.seen.assert_one_terminal_each();
    })
    .await;
}

/// Tasks of a `JoinSet` in the job's scope: each call is a child, and dropping the handler stops
/// all of them.
#[tokio::test]
async fn a_join_set_in_the_jobs_scope() {
    bounded(async {
        let (upstream, _held, mut entries) = upstream().await;
        let (fetch, fetched, handle) = Fetch::layered(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move {
            let mut calls = JoinSet::new();
            for _ in 0..3 {
                let fetch = fetch.clone();
                calls.spawn(Job::current().scope(async move { fetch.text().await }));
            }
            reply(calls.join_next().await.unwrap().unwrap())
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        for _ in 0..3 {
            entries.recv().await;
        }
        assert_eq!(handle.jobs().len(), 3);
        client.abort();
        let job = keep.seen.job();
        assert_eq!(
            reason(ended(&keep.seen, job).await),
            CancelReason::CallerGone
        );
        for (child, end) in fetched.jobs().into_iter().zip(all_ended(&fetched, 3).await) {
            assert_eq!(parent(&fetched, child), Some(job));
            assert!(matches!(end, EventKind::Cancelled { .. }), "{fetched}");
        }
        assert!(handle.jobs().is_empty());
    })
    .await;
}
