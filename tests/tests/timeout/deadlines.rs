//! What the code inside knows of its limits.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::Either};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Event, Job, JobLayer, LogLayer,
    RetryLayer, TimeoutLayer,
};
use tower_keep_tests::*;

/// What is left, in seconds.
fn left() -> Option<u64> {
    Job::current().remaining().map(|left| left.as_secs())
}

/// A service that answers with what is left, or 0; asked after this long.
fn asking(
    after: u64,
) -> impl tower::Service<u32, Response = u32, Error = BoxError, Future = Work>
+ Clone
+ Send
+ Sync
+ 'static {
    code(move |job, _| async move {
        tokio::time::sleep(secs(after)).await;
        assert_eq!(job.remaining(), Job::current().remaining());
        Ok(left().map_or(0, |left| left as u32))
    })
}

/// R15, R16: the nearest of the limits around, in whatever order they stand, and whether they end
/// the job or the attempt; with a job and without one.
#[tokio::test(start_paused = true)]
async fn the_nearest_limit_counts() {
    let overall = |seconds| TimeoutLayer::new(secs(seconds));
    let attempt = |seconds| TimeoutLayer::new(secs(seconds)).per_attempt();
    for (outer, inner, nearest) in [
        (overall(60), overall(20), 19),
        (overall(20), overall(60), 19),
        (overall(60), attempt(10), 9),
        (overall(8), attempt(10), 7),
        (attempt(10), overall(60), 9),
        (attempt(10), attempt(5), 4),
        (attempt(5), attempt(10), 4),
        (overall(5), TimeoutLayer::new(Duration::MAX), 4),
        (TimeoutLayer::new(Duration::MAX), attempt(5), 4),
        (TimeoutLayer::none(), TimeoutLayer::none(), 0),
        (
            TimeoutLayer::new(Duration::MAX),
            TimeoutLayer::new(Duration::MAX).per_attempt(),
            0,
        ),
    ] {
        let pair = || ServiceBuilder::new().layer(outer.clone());
        let without = pair().layer(inner.clone()).service(asking(1));
        assert_eq!(without.oneshot(0).await.unwrap(), nearest, "without a job");
        let service = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new())
            .layer(outer.clone())
            .layer(inner.clone())
            .service(asking(1));
        assert_eq!(service.oneshot(0).await.unwrap(), nearest);
        let service = pair()
            .layer(JobLayer::new("between"))
            .layer(inner.clone())
            .service(asking(1));
        assert_eq!(service.oneshot(0).await.unwrap(), nearest, "between them");
        let service = pair()
            .layer(inner.clone())
            .layer(JobLayer::new("inside"))
            .service(asking(1));
        assert_eq!(service.oneshot(0).await.unwrap(), nearest, "inside them");
        // The ways to watch the work make no difference.
        let service = ServiceBuilder::new()
            .layer(outer.clone().grace(secs(5)))
            .layer(inner.clone().grace(secs(5)))
            .layer(TimeoutLayer::new(secs(2)).idle())
            .service(asking(1));
        assert_eq!(service.oneshot(0).await.unwrap(), nearest, "watched");
    }
}

/// R16b: a limit from the request counts too.
#[tokio::test(start_paused = true)]
async fn a_limit_from_the_request_counts() {
    let limit = |request: &u32| (*request > 0).then(|| secs(u64::from(*request)));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .layer(TimeoutLayer::none().limit_by(limit))
        .layer(LogLayer::new())
        .service(asking(1));
    for (request, left) in [(0, 59), (30, 29), (90, 59)] {
        assert_eq!(service.clone().oneshot(request).await.unwrap(), left);
    }
}

/// R16: each attempt has its own limit before it, and the waits and later attempts no other's; also
/// where a foreign layer tries again.
#[tokio::test(start_paused = true)]
async fn each_attempt_sees_its_own_limit() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let failing = {
        let seen = seen.clone();
        code(move |_, _| {
            let seen = seen.clone();
            async move {
                seen.lock().unwrap().push(left());
                tokio::time::sleep(secs(4)).await;
                seen.lock().unwrap().push(left());
                Err("no".into())
            }
        })
    };
    let attempt = TimeoutLayer::new(secs(10)).per_attempt();
    let ours = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(TimeoutLayer::new(secs(16)))
        .layer(RetryLayer::new().max_retries(2).base_delay(secs(2)))
        .layer(attempt.clone())
        .service(failing.clone());
    ours.oneshot(0).await.unwrap_err();
    let taken = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(taken, [10, 6, 10, 6, 2].map(Some));

    #[derive(Clone)]
    struct Again(u32);
    impl<Req: Clone, Res, E> tower::retry::Policy<Req, Res, E> for Again {
        type Future = std::future::Ready<()>;

        fn retry(&mut self, _: &mut Req, _: &mut Result<Res, E>) -> Option<Self::Future> {
            self.0 = self.0.checked_sub(1)?;
            Some(std::future::ready(()))
        }

        fn clone_request(&mut self, request: &Req) -> Option<Req> {
            Some(request.clone())
        }
    }
    // An overall limit inside starts over with each attempt too.
    for limit in [attempt, TimeoutLayer::new(secs(10))] {
        for (foreign, watched) in [(true, true), (true, false), (false, true), (false, false)] {
            let stack = ServiceBuilder::new().layer(LogLayer::new());
            let limit = if watched {
                Either::Left(limit.clone().grace(secs(1)))
            } else {
                Either::Right(limit.clone())
            };
            if foreign {
                let stack = stack.layer(tower::retry::RetryLayer::new(Again(1)));
                let service = stack.layer(limit).service(failing.clone());
                service.oneshot(0).await.unwrap_err();
            } else {
                let stack = stack.layer(RetryLayer::new().max_retries(1));
                let service = stack.layer(limit).service(failing.clone());
                service.oneshot(0).await.unwrap_err();
            }
            let taken = std::mem::take(&mut *seen.lock().unwrap());
            assert_eq!(taken, [10, 6, 10, 6].map(Some), "{foreign}, {watched}");
        }
    }
}

/// R12: a handle that was taken in the call itself knows the limits too, wherever it is asked.
#[tokio::test(start_paused = true)]
async fn a_handle_of_the_call_knows_the_limits() {
    for limit in [
        TimeoutLayer::new(secs(10)),
        TimeoutLayer::new(secs(10)).per_attempt(),
    ] {
        let inner = || {
            service_fn(|_: u32| {
                let job = Job::current();
                async move {
                    let asked = tokio::spawn(async move { job.remaining() });
                    Ok::<_, Infallible>(asked.await.unwrap())
                }
            })
        };
        let stack = || ServiceBuilder::new().layer(TimeoutLayer::new(secs(60)));
        let expected = Some(secs(10));
        let without = stack().layer(limit.clone()).service(inner());
        assert_eq!(without.oneshot(0).await.unwrap(), expected);
        let tracked = stack().layer(LogLayer::new()).layer(limit.clone());
        assert_eq!(tracked.service(inner()).oneshot(0).await.unwrap(), expected);
        let watched = stack().layer(limit.grace(secs(1)));
        assert_eq!(watched.service(inner()).oneshot(0).await.unwrap(), expected);
    }
}

/// R16: a step's limit counts within the step, and no longer after it.
#[tokio::test(start_paused = true)]
async fn a_step_sees_its_own_limit() {
    for job_layer in [true, false] {
        let inner = code(|job, _| async move {
            assert_eq!(left(), Some(60));
            let step = |expected| {
                let job = job.clone();
                async move {
                    assert_eq!(left(), Some(expected));
                    // A handle from before the step is as good.
                    assert_eq!(job.remaining(), Some(secs(expected)));
                    Ok::<_, BoxError>(())
                }
            };
            job.step("short", step(5)).limit(secs(5)).await?;
            job.step("long", step(60)).limit(secs(90)).await?;
            assert_eq!(left(), Some(60));
            Ok(1)
        });
        let limit = TimeoutLayer::new(secs(60));
        let stack = ServiceBuilder::new();
        let answer = if job_layer {
            let service = stack.layer(limit).layer(JobLayer::new("job"));
            service.service(inner).oneshot(0).await
        } else {
            stack.layer(limit).service(inner).oneshot(0).await
        };
        assert_eq!(answer.unwrap(), 1);
    }
}

/// R15: what works for a job is under the job's limits, and those of the attempt and the step that
/// called it; the job is not under its child's.
#[tokio::test(start_paused = true)]
async fn a_child_is_under_its_parents_limits() {
    for (parent, step, child, expected) in [
        (60, 30, 90, 30),
        (60, 30, 10, 10),
        (20, 30, 90, 20),
        (20, 30, 10, 10),
    ] {
        for tracked in [true, false] {
            let client = if tracked {
                let stack = ServiceBuilder::new()
                    .layer(LogLayer::new())
                    .layer(TimeoutLayer::new(secs(child)));
                tower::util::BoxCloneService::new(stack.service(asking(0)))
            } else {
                let stack = ServiceBuilder::new().layer(TimeoutLayer::new(secs(child)));
                tower::util::BoxCloneService::new(stack.service(asking(0)))
            };
            let client = Arc::new(Mutex::new(client));
            let service = ServiceBuilder::new()
                .layer(LogLayer::new())
                .layer(TimeoutLayer::new(secs(parent)).per_attempt())
                .service(code(move |job, _| {
                    let client = client.lock().unwrap().clone();
                    async move {
                        let call = client.oneshot(0);
                        let answer = job.step("call", call).limit(secs(step)).await?;
                        assert_eq!(left(), Some(parent));
                        Ok(answer)
                    }
                }));
            let answer = service.oneshot(0).await.unwrap();
            assert_eq!(u64::from(answer), expected, "tracked: {tracked}");
        }
    }
}

/// R16: a layer's limit for steps is for the steps of its own stack, not of a stack that the code
/// inside calls.
#[tokio::test(start_paused = true)]
async fn a_step_limit_stays_in_its_stack() {
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::none())
        .layer(LogLayer::new())
        .service(code(|job, _| async move {
            let step = async {
                tokio::time::sleep(secs(20)).await;
                Ok::<_, BoxError>(7)
            };
            job.step("long", step).await
        }));
    for tracked in [true, false] {
        let client = client.clone();
        let service = ServiceBuilder::new()
            .layer(tower::util::option_layer(
                tracked.then(|| JobLayer::new("job")),
            ))
            .layer(TimeoutLayer::none().step_limit(secs(10)))
            .service(code(move |_, request| client.clone().oneshot(request)));
        assert_eq!(service.oneshot(0).await.unwrap(), 7);
    }
}

/// R4: work that is handed to another task is under the limits that its handle knows.
#[tokio::test(start_paused = true)]
async fn a_spawned_task_knows_its_limits() {
    for (tracked, limit) in [
        (true, TimeoutLayer::new(secs(20))),
        (true, TimeoutLayer::new(secs(20)).per_attempt()),
        (false, TimeoutLayer::new(secs(20))),
    ] {
        let inner = code(|job, _| async move {
            let given = job.clone();
            let scoped = tokio::spawn(job.scope(async move {
                tokio::time::sleep(secs(3)).await;
                assert_eq!(left(), Some(17));
                // A stack that it calls is under them too.
                let client = ServiceBuilder::new()
                    .layer(LogLayer::new())
                    .service(asking(0));
                client.oneshot(0).await.unwrap()
            }));
            let plain = tokio::spawn(async move { (left(), given.remaining()) });
            assert_eq!(plain.await.unwrap(), (None, Some(secs(20))));
            Ok(scoped.await.unwrap())
        });
        let answer = if tracked {
            let service = ServiceBuilder::new().layer(LogLayer::new()).layer(limit);
            service.service(inner).oneshot(0).await
        } else {
            let service = ServiceBuilder::new().layer(limit).service(inner);
            service.oneshot(0).await
        };
        assert_eq!(answer.unwrap(), 17);
        assert_eq!(left(), None);
    }
    // Nobody's work is under nobody's limits.
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(20)))
        .service(service_fn(|_: u32| async {
            Ok::<_, Infallible>(Job::default().scope(async { left() }).await)
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), None);
}

/// R54b: an execution that callers join is under the limits inside the Dedup, whichever caller
/// polls it, and not under those of one of the callers: it goes on for the others. Without callers
/// that could join, it is the caller's own.
#[tokio::test(start_paused = true)]
async fn a_joined_execution_is_under_its_own_limits() {
    for tracked in [true, false] {
        for (key, expected) in [(Some(1), [30, 30]), (None, [9, 20])] {
            let join = DedupLayer::new(move |_: &u32| key).join();
            let outside =
                TimeoutLayer::none().limit_by(|request: &u32| Some(secs(u64::from(*request))));
            let inside = TimeoutLayer::new(secs(35));
            let stack = ServiceBuilder::new()
                .layer(tower::util::option_layer(
                    tracked.then(|| JobLayer::new("job")),
                ))
                .layer(outside)
                .layer(join)
                .layer(inside);
            let mut service = stack.service(asking(5));
            let first = tokio::spawn(begin(&mut service, 14).await);
            let second = tokio::spawn(begin(&mut service, 25).await);
            for (call, expected) in [first, second].into_iter().zip(expected) {
                assert_eq!(call.await.unwrap().unwrap(), expected, "{key:?}");
            }
        }
    }
}

/// R54b: the caller's own limit holds again once the shared execution is over.
#[tokio::test(start_paused = true)]
async fn after_a_joined_execution_the_callers_limit_holds_again() {
    let seen = Arc::new(Mutex::new(None));
    let note = seen.clone();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(TimeoutLayer::new(secs(60)))
        .map_response(move |answer: u32| {
            *note.lock().unwrap() = left();
            answer
        })
        .layer(DedupLayer::new(|_: &u32| Some(1)).join())
        .service(asking(5));
    assert_eq!(service.oneshot(0).await.unwrap(), 0);
    assert_eq!(*seen.lock().unwrap(), Some(55));
}

/// R5: a detached job knows the overall limit, which cancels it, and not that of an attempt, which
/// goes with the caller.
#[tokio::test(start_paused = true)]
async fn a_detached_job_is_under_what_ends_it() {
    let detached = || CancelLayer::new().detached();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .layer(detached())
        .service(asking(1));
    assert_eq!(service.oneshot(0).await.unwrap(), 59);
    let service = ServiceBuilder::new()
        .layer(detached())
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .service(asking(1));
    assert_eq!(service.oneshot(0).await.unwrap(), 9);
}

/// R5: what a detached job was begun in may end before it, and so may the limits on that; a
/// cancellation of the job that it works for reaches it, and so does that one's deadline.
#[tokio::test(start_paused = true)]
async fn a_detached_child_is_under_its_parents_deadline_only() {
    let client = || {
        let detached = CancelLayer::new().detached();
        ServiceBuilder::new().layer(detached).service(asking(1))
    };
    let inner = || code(move |_, request| client().oneshot(request));
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(TimeoutLayer::new(secs(60)))
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .service(inner());
    assert_eq!(service.oneshot(0).await.unwrap(), 59);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .service(inner());
    assert_eq!(service.oneshot(0).await.unwrap(), 0);
}

/// R16: the limits on the code of another job are none of the job's whose handle that code has.
#[tokio::test(start_paused = true)]
async fn a_handle_does_not_know_anothers_limits() {
    let inner = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(5)))
        .layer(LogLayer::to(|_: &Event| {}))
        .service(service_fn(|handles: [Job; 2]| async move {
            assert_eq!(left(), Some(5));
            let [outer, unwatched] = handles.map(|job| job.remaining().map(|left| left.as_secs()));
            assert_eq!((outer, unwatched), (Some(60), None));
            Ok::<_, BoxError>(1)
        }));
    let outer = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .layer(LogLayer::to(|_: &Event| {}))
        .service(code(move |job, _| {
            inner.clone().oneshot([job, Job::default()])
        }));
    outer.oneshot(0).await.unwrap();
}

/// R16: the limit on the steps of a client that tracks no job is none on the steps of the job that
/// calls it.
#[tokio::test(start_paused = true)]
async fn a_clients_step_limit_is_not_its_callers() {
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)).step_limit(secs(1)))
        .service(code(|_, _| async { Ok(1) }));
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(|_: &Event| {}))
        .service(code(move |job, _| {
            let client = client.clone();
            async move {
                client.oneshot(0).await?;
                job.step("slow", asking(5).oneshot(0)).await
            }
        }));
    service.oneshot(0).await.unwrap();
}

/// A client call has no more time than the job that makes it, and less where its own limit is
/// shorter.
#[tokio::test(start_paused = true)]
async fn a_childs_time_is_bounded_by_its_parents() {
    let tell = || {
        service_fn(|_: u32| {
            let remaining = Job::current().remaining();
            async move { Ok::<_, BoxError>(remaining) }
        })
    };
    let unlimited = quiet().layer(tell());
    let limited = |limit| {
        ServiceBuilder::new()
            .layer(quiet())
            .layer(TimeoutLayer::new(limit))
            .service(tell())
    };
    let (shorter, longer) = (limited(ms(100)), limited(secs(60)));
    let server = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(ms(500)))
        .service(service_fn(move |request: u32| {
            let (unlimited, shorter, longer) = (unlimited.clone(), shorter.clone(), longer.clone());
            async move {
                tokio::time::sleep(ms(200)).await;
                Ok::<_, BoxError>([
                    unlimited.oneshot(request).await?,
                    shorter.oneshot(request).await?,
                    longer.oneshot(request).await?,
                ])
            }
        }));
    assert_eq!(
        server.oneshot(0).await.unwrap(),
        [Some(ms(300)), Some(ms(100)), Some(ms(300))]
    );
}
