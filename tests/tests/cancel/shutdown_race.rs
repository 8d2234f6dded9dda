//! A shutdown in a race with calls that begin, and with jobs that end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, CancelReason};
use tower_keep_tests::*;

use super::shutdown::counts;

/// R11: jobs that begin at the same time as a shutdown: none slips past, and each is counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_job_slips_past_a_shutdown() {
    for round in 0..400 {
        // Without time, the deadline is in the race too; with all the time there is, every job ends
        // by itself.
        let patient = round % 2 == 0;
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let (begun, working) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, at_work) = (begun.clone(), working.clone());
        let service = ServiceBuilder::new()
            .layer(cancel)
            .service(service_fn(move |ends: bool| {
                count.fetch_add(1, Ordering::SeqCst);
                at_work.fetch_add(1, Ordering::SeqCst);
                let guard = AtWork(at_work.clone());
                async move {
                    let _guard = guard;
                    tokio::task::yield_now().await;
                    if !ends {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, BoxError>(())
                }
            }));
        let barrier = Arc::new(tokio::sync::Barrier::new(5));
        let mut callers = Vec::new();
        for caller in 0..4 {
            let (service, barrier) = (service.clone(), barrier.clone());
            callers.push(tokio::spawn(async move {
                barrier.wait().await;
                let mut calls = Vec::new();
                for call in 0..5 {
                    let mut service = service.clone();
                    let call = service
                        .ready()
                        .await
                        .unwrap()
                        .call(patient || (caller + call) % 3 > 0);
                    calls.push(tokio::spawn(call));
                    tokio::task::yield_now().await;
                }
                let mut ended = [0; 2];
                for call in calls {
                    match call.await.unwrap() {
                        Ok(()) => ended[0] += 1,
                        Err(error) => {
                            assert_eq!(reason(&error), CancelReason::Shutdown);
                            ended[1] += 1;
                        }
                    }
                }
                ended
            }));
        }
        barrier.wait().await;
        for _ in 0..round % 20 {
            tokio::task::yield_now().await;
        }
        let within = if patient {
            Duration::MAX
        } else {
            Duration::ZERO
        };
        let shutdown = handle.shutdown(within).await;
        assert_eq!(working.load(Ordering::SeqCst), 0, "something still works");
        let begun = begun.load(Ordering::SeqCst);
        let mut ended = [0; 2];
        for caller in callers {
            let ends = caller.await.unwrap();
            ended = [ended[0] + ends[0], ended[1] + ends[1]];
        }
        let [finished, cancelled, otherwise, _] = counts(shutdown);
        let refused = counts(handle.shutdown(Duration::ZERO).await)[3];
        // Jobs that were over before the shutdown do not count.
        assert!(finished <= ended[0], "{finished} of {ended:?}");
        assert_eq!(cancelled + refused, ended[1]);
        assert!(otherwise == 0 && !(patient && cancelled > 0));
        // The shutdown may cancel a job that is tracked already, before the service is called.
        let never_begun = 20 - refused - begun;
        assert!(never_begun <= cancelled, "{never_begun} of {cancelled}");
        assert!(handle.jobs().is_empty());
    }
}

struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
