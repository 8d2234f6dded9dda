//! Calls that would wait for the execution whose code makes them.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Event, EventKind, FailureCause, Job, LogLayer, Pipeline,
    RetryLayer, TimeoutLayer, dedup::Duplicate, find,
};
use tower_keep_tests::*;

type Named = BoxCloneSyncService<String, String, BoxError>;

/// Stacks by number, whose code may call them.
#[derive(Clone, Default)]
struct Stacks(Arc<OnceLock<Vec<Named>>>);

impl Stacks {
    fn call(&self, stack: usize, request: &str) -> BoxFuture<'static, Result<String, BoxError>> {
        let service = self.0.get().unwrap()[stack].clone();
        Box::pin(service.oneshot(request.to_owned()))
    }

    /// One stack of each layer, around a service that waits a second and then makes the call that
    /// its request names: a stack's number and a request, as in `b>1c`: the execution of `b` calls
    /// stack 1 with `c`.
    fn around(layers: Vec<Around>) -> Self {
        let stacks = Self::default();
        let own = stacks.clone();
        let inner = Named::new(service_fn(move |request: String| {
            let stacks = own.clone();
            async move {
                tokio::time::sleep(secs(1)).await;
                let Some((_, calls)) = request.split_once('>') else {
                    return Ok(request);
                };
                let call = stacks.call(calls[..1].parse().unwrap(), &calls[1..]);
                let result = call.await?;
                Ok(format!("{request} {result}"))
            }
        }));
        let all = layers.into_iter().map(|layer| layer(inner.clone()));
        stacks.0.set(all.collect()).ok().unwrap();
        stacks
    }
}

/// What is before the call.
fn key(request: &str) -> Option<String> {
    request.split('>').next().map(str::to_owned)
}

fn join(inner: Named) -> Named {
    Named::new(
        DedupLayer::new(|request: &String| key(request))
            .join()
            .layer(inner),
    )
}

fn keep(inner: Named) -> Named {
    Named::new(
        DedupLayer::new(|request: &String| key(request))
            .join()
            .cache(secs(60))
            .layer(inner),
    )
}

fn tracked(inner: Named) -> Named {
    let layers = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(CancelLayer::new())
        .layer(DedupLayer::new(|request: &String| key(request)).join())
        .layer(RetryLayer::new().max_retries(0));
    Named::new(layers.service(inner))
}

fn pipeline(inner: Named) -> Named {
    let layer = Pipeline::new()
        .dedup(DedupLayer::new(|request: &String| key(request)).join())
        .retry(RetryLayer::new().max_retries(0))
        .build()
        .unwrap();
    Named::new(layer.layer(inner))
}

type Around = fn(Named) -> Named;

const ALL: [(&str, Around); 4] = [
    ("join", join),
    ("keep", keep),
    ("tracked", tracked),
    ("pipeline", pipeline),
];

fn cycle(error: &BoxError) -> String {
    let duplicate = find::<Duplicate>(&**error).unwrap_or_else(|| panic!("{error}"));
    duplicate.cycle().expect("a cycle").to_owned()
}

/// R65 An execution whose code calls its own stack with its own key fails at once, with the key and
/// the job.
#[tokio::test(start_paused = true)]
async fn an_execution_does_not_wait_for_itself() {
    for (name, layer) in ALL {
        let stacks = Stacks::around(vec![layer]);
        let begun = tokio::time::Instant::now();
        let call = stacks.call(0, "a>0a");
        let error = tokio::time::timeout(secs(600), call)
            .await
            .expect(name)
            .unwrap_err();
        let cycle = cycle(&error);
        assert!(cycle.starts_with("\"a\""), "{name}: {cycle}");
        assert_eq!(
            cycle.contains("(job "),
            matches!(name, "tracked" | "pipeline"),
            "{cycle}"
        );
        assert!(
            error.to_string().contains("would wait for itself"),
            "{name}: {error}"
        );
        // A gate's rejection is not retried by the retry around the inner call; one around the
        // outer call may be.
        assert!(begun.elapsed() < secs(60), "{name}");
        assert_eq!(
            stacks.call(0, "a").await.unwrap(),
            "a",
            "{name}: the key is free"
        );
    }
}

/// R65 An execution does not wait for itself through others, in one layer or in several, with jobs
/// or without: the keys on the way are named.
#[tokio::test(start_paused = true)]
async fn nor_through_others() {
    for (name, layer) in ALL {
        let stacks = Stacks::around(vec![layer, layer, join]);
        let call = stacks.call(0, "a>1b>2c>0a");
        let error = tokio::time::timeout(secs(600), call)
            .await
            .expect(name)
            .unwrap_err();
        let cycle = cycle(&error);
        for key in ["\"a\"", "\"b\"", "\"c\""] {
            assert!(cycle.contains(key), "{name}: {cycle}");
        }
    }
}

/// R65 Two that each execute a key and want the other's: at least one fails, and neither waits for
/// ever.
#[tokio::test(start_paused = true)]
async fn two_that_want_each_others_key() {
    for (name, layer) in ALL {
        let stacks = Stacks::around(vec![layer]);
        let calls = futures::future::join(stacks.call(0, "a>0b"), stacks.call(0, "b>0a"));
        let (a, b) = tokio::time::timeout(secs(600), calls).await.expect(name);
        let errors: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
        assert!(!errors.is_empty(), "{name}");
        for error in errors {
            cycle(&error);
        }
    }
}

async fn waits_for_the_second_under_a_limit(own: Stack) -> Result<u32, BoxError> {
    let limited = Stack::new(TimeoutLayer::new(secs(5)).layer(own.clone()));
    let error = limited.oneshot(2).await.unwrap_err();
    assert!(find::<Duplicate>(&*error).is_none(), "the limit: {error}");
    own.oneshot(3).await
}

/// While that one waits for this, this cannot wait for that; once it does not, this can.
async fn waits_for_the_first(own: Stack) -> Result<u32, BoxError> {
    tokio::time::sleep(secs(1)).await;
    let error = own.clone().oneshot(1).await.unwrap_err();
    cycle(&error);
    tokio::time::sleep(secs(10)).await;
    own.oneshot(1).await
}

/// R65 A call counts as waiting under a limit and in a `select!` too, until it ends; after that it
/// does not.
#[tokio::test(start_paused = true)]
async fn a_call_waits_until_it_ends() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let inner = code(move |_, request| {
        let own = below.get().unwrap().clone();
        async move {
            match request {
                1 => waits_for_the_second_under_a_limit(own).await,
                2 => waits_for_the_first(own).await,
                _ => {
                    tokio::time::sleep(secs(30)).await;
                    Ok(request)
                }
            }
        }
    });
    let service = Stack::new(
        DedupLayer::new(|request: &u32| Some(*request))
            .join()
            .layer(inner),
    );
    own.set(service.clone()).ok().unwrap();
    let calls = futures::future::join(service.clone().oneshot(1), service.oneshot(2));
    let (first, second) = tokio::time::timeout(secs(600), calls).await.unwrap();
    assert_eq!((first.unwrap(), second.unwrap()), (3, 3));
}

/// R65 Code in a job's scope is a part of the execution that polls it, and of none in a task of its
/// own: that may wait for the execution that spawned it.
#[tokio::test(start_paused = true)]
async fn code_in_a_scope() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let spawned = Arc::new(Mutex::new(None));
    let task = Arc::clone(&spawned);
    let inner = code(move |job: Job, request| {
        let (own, task) = (below.get().unwrap().clone(), Arc::clone(&task));
        async move {
            let error = job.scope(own.clone().oneshot(request)).await.unwrap_err();
            cycle(&error);
            let other = tokio::spawn(job.scope(own.oneshot(request)));
            *task.lock().unwrap() = Some(other);
            tokio::time::sleep(secs(1)).await;
            Ok(request)
        }
    });
    let layers = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(DedupLayer::new(|request: &u32| Some(*request)).join());
    let service = Stack::new(layers.service(inner));
    own.set(service.clone()).ok().unwrap();
    assert_eq!(service.oneshot(1).await.unwrap(), 1);
    let other = spawned.lock().unwrap().take().unwrap();
    assert_eq!(other.await.unwrap().unwrap(), 1);
}

/// R65 Executions that wait for the same one, or for each other one way only, are no circle.
#[tokio::test(start_paused = true)]
async fn waiting_one_way_is_no_cycle() {
    for (name, layer) in ALL {
        let stacks = Stacks::around(vec![layer]);
        let calls = ["a>0d", "b>0d", "c>0a>0d", "d", "e>0b>0d", "f>0c>0a>0d"];
        let calls = calls.map(|request| stacks.call(0, request));
        for result in futures::future::join_all(calls).await {
            assert!(result.is_ok(), "{name}: {result:?}");
        }
    }
}

/// R65 The job of a call that would wait for itself is rejected: as a duplicate, not as a failure
/// of the service.
#[tokio::test(start_paused = true)]
async fn its_job_is_rejected() {
    let (log, recorder) = recording();
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let inner = code(move |_: Job, request| {
        let own = below.get().unwrap().clone();
        async move {
            own.oneshot(request).await.unwrap_err();
            Ok(request)
        }
    });
    let layers = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|request: &u32| Some(*request)).join());
    let service = Stack::new(layers.service(inner));
    own.set(service.clone()).ok().unwrap();
    assert_eq!(service.oneshot(1).await.unwrap(), 1);
    let [outer, inner] = recorder.jobs()[..] else {
        panic!("two jobs: {recorder}")
    };
    assert_eq!(recorder.terminal(outer).unwrap().name(), "succeeded");
    let ending = recorder.terminal(inner).unwrap();
    let tower_keep::EventKind::Failed { cause, error } = ending else {
        panic!("{ending:?}")
    };
    assert_eq!(cause, FailureCause::Duplicate);
    assert!(error.contains(&format!("1 (job {outer})")), "{error}");
}

/// R65 Calls of many executions at random, in threads: none waits for ever, and nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_at_random() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let inner = code(move |_: Job, request| {
        let own = below.get().unwrap().clone();
        async move {
            let mut rng = fastrand::Rng::with_seed(u64::from(request));
            let depth = request / 100;
            for _ in 0..rng.u32(0..3) {
                if depth < 4 {
                    tokio::task::yield_now().await;
                    // An error is a circle, here or further down.
                    let next = (depth + 1) * 100 + rng.u32(0..6);
                    let _ = own.clone().oneshot(next).await;
                }
            }
            Ok(request)
        }
    });
    let layer = DedupLayer::new(|request: &u32| Some(*request % 100)).join();
    let handle = layer.handle();
    let service = Stack::new(layer.layer(inner));
    own.set(service.clone()).ok().unwrap();
    let mut rng = fastrand::Rng::with_seed(65);
    let all = async {
        for _ in 0..300 {
            let calls: Vec<_> = (0..8)
                .map(|_| tokio::spawn(service.clone().oneshot(rng.u32(0..6))))
                .collect();
            for call in calls {
                let _ = call.await.unwrap();
            }
        }
    };
    tokio::time::timeout(secs(60), all)
        .await
        .expect("nobody waits for ever");
    assert!(handle.in_flight().is_empty());
}

/// Runs the hook when it is cloned.
struct Hooked<S>(S, Arc<dyn Fn() + Send + Sync>);

impl<S: Clone> Clone for Hooked<S> {
    fn clone(&self) -> Self {
        (self.1)();
        Self(self.0.clone(), Arc::clone(&self.1))
    }
}

impl<S: Service<u32>> Service<u32> for Hooked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> S::Future {
        self.0.call(request)
    }
}

/// A call that is polled at once when it is woken.
#[derive(Default)]
struct Eager(Mutex<Option<Work>>);

impl Eager {
    fn poll(self: &Arc<Self>) {
        let call = self.0.lock().unwrap().take();
        if let Some(mut call) = call {
            let waker = Waker::from(Arc::clone(self));
            let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_pending() {
                *self.0.lock().unwrap() = Some(call);
            }
        }
    }
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}

/// R65 An execution that begins inside another closes no circle unseen, though another call has
/// joined it by then and runs its code as soon as it is there.
#[tokio::test(start_paused = true)]
async fn a_circle_that_closes_as_an_execution_begins() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let armed = Arc::new(AtomicBool::new(false));
    let (below, arm) = (Arc::clone(&own), Arc::clone(&armed));
    // 1 calls 2, and 2 calls 1.
    let inner = code(move |_, request| {
        let mut own = below.get().unwrap().clone();
        arm.store(request == 1, Ordering::Relaxed);
        own.call(3 - request)
    });
    let other = Arc::new(Eager::default());
    let (stack, eager) = (Arc::clone(&own), Arc::clone(&other));
    let hook = move || {
        // 2 is marked, and its execution is not there yet.
        if armed.swap(false, Ordering::Relaxed) {
            let joins = stack.get().unwrap().clone().oneshot(2);
            *eager.0.lock().unwrap() = Some(Box::pin(joins));
            eager.poll();
        }
    };
    let layer = DedupLayer::new(|request: &u32| Some(*request)).join();
    let handle = layer.handle();
    let service = Stack::new(layer.layer(Hooked(inner, Arc::new(hook))));
    own.set(service.clone()).ok().unwrap();
    let result = tokio::time::timeout(secs(600), service.oneshot(1)).await;
    cycle(&result.expect("no circle is waited for").unwrap_err());
    assert!(handle.in_flight().is_empty());
}

/// R65 A call that is answered with a stale result waits for no revalidation: the revalidation's
/// code may wait for the execution that made the call.
#[tokio::test(start_paused = true)]
async fn a_stale_answer_waits_for_no_revalidation() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let warm = AtomicBool::new(false);
    // 1 calls 2, and each execution of 2 but the first calls 1.
    let inner = code(move |_, request| -> Work {
        let own = below.get().unwrap().clone();
        match request == 2 && !warm.swap(true, Ordering::Relaxed) {
            true => Box::pin(async { Ok(2) }),
            false => Box::pin(own.oneshot(3 - request)),
        }
    });
    let layer = DedupLayer::new(|request: &u32| Some(*request))
        .join()
        .cache(secs(1))
        .stale_while_revalidate(secs(100));
    let joins = Stack::new(layer.layer(inner.clone()));
    let joined = Arc::new(Mutex::new(None));
    let call = Arc::clone(&joined);
    let log = LogLayer::to(move |event: &Event| {
        if matches!(event.kind, EventKind::CacheHit { age, .. } if age > secs(100)) {
            // Its result is gone by now, unlike that of 1.
            let mut joins: Work = Box::pin(joins.clone().oneshot(2));
            let polled = joins.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "it waits for the execution of 1");
            *call.lock().unwrap() = Some(joins);
        }
    });
    let service = Stack::new(ServiceBuilder::new().layer(log).layer(layer).service(inner));
    own.set(service.clone()).ok().unwrap();
    assert_eq!(service.clone().oneshot(2).await.unwrap(), 2);
    tokio::time::sleep(ms(500)).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 2);
    tokio::time::sleep(ms(100_700)).await;
    assert_eq!(service.oneshot(1).await.unwrap(), 2);
    let joined = joined.lock().unwrap().take().expect("it was stale");
    assert_eq!(joined.await.unwrap(), 2);
}

/// R65 A call that would have waited for itself is rejected, and did not join.
#[tokio::test(start_paused = true)]
async fn it_counts_as_rejected() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let layer = DedupLayer::new(|request: &u32| Some(*request)).join();
    let handle = layer.handle();
    let inner = code(move |_, request| below.get().unwrap().clone().oneshot(request));
    let service = Stack::new(layer.layer(inner));
    own.set(service.clone()).ok().unwrap();
    cycle(&service.oneshot(1).await.unwrap_err());
    let counts = handle.counts();
    assert_eq!(
        (counts.executions, counts.joined, counts.rejected),
        (1, 0, 1)
    );
}
