//! Tests of kept requests: how often they are kept, made again and cloned, and when they are freed.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use tower::{Layer, Service, ServiceExt, service_fn};

use super::{KeepRequest, sealed::Sealed};
use crate::{
    BoxError, GiveUpReason, JobLayer,
    retry::{
        Attempt, RetryLayer, before_attempt::BeforeAttempt, budget::LayerBudget,
        give_up::KeepOutcome, hooks::HookSet, max_retries::LayerRetries, policy::OnError,
    },
};

/// A request without `Clone`. `alive` counts the requests and kept requests that exist.
struct Upload {
    /// 0 as the caller made it, 1 with a recorded body, then 2, 3, 4 for each further attempt.
    form: u32,
    alive: Arc<()>,
}

struct Kept {
    made: u32,
    alive: Arc<()>,
}

/// What the retry did with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Keep,
    Ask,
    Again,
    AgainLast,
    Call(u32),
}

/// Records the calls of the hook. `repeats`: how often a request can be repeated.
#[derive(Clone)]
struct Recording {
    did: Arc<Mutex<Vec<Did>>>,
    repeats: u32,
}

impl Recording {
    fn new(repeats: u32) -> Self {
        Self {
            did: Arc::default(),
            repeats,
        }
    }

    fn note(&self, did: Did) {
        self.did.lock().unwrap().push(did);
    }

    fn did(&self) -> Vec<Did> {
        self.did.lock().unwrap().clone()
    }
}

impl Sealed for Recording {}

impl KeepRequest<Upload> for Recording {
    type Kept = Kept;

    fn keep(&self, request: &mut Upload) -> Option<Kept> {
        self.note(Did::Keep);
        request.form += 1;
        Some(Kept {
            made: request.form,
            alive: Arc::clone(&request.alive),
        })
    }

    fn again(&self, mut kept: Kept, is_last: bool) -> (Upload, Option<Kept>) {
        self.note(if is_last { Did::AgainLast } else { Did::Again });
        kept.made += 1;
        let upload = Upload {
            form: kept.made,
            alive: Arc::clone(&kept.alive),
        };
        (upload, (!is_last).then_some(kept))
    }

    fn can_repeat(&self, kept: &Kept) -> bool {
        self.note(Did::Ask);
        kept.made <= self.repeats
    }
}

fn layer(keep: &Recording, max_retries: u32) -> RetryLayer<OnError, HookSet<Recording>> {
    RetryLayer::new()
        .max_retries(max_retries)
        .with_hooks(|hooks| hooks.keep_request(keep.clone()))
}

fn upload() -> (Upload, Arc<()>) {
    let alive = Arc::new(());
    let request = Upload {
        form: 0,
        alive: Arc::clone(&alive),
    };
    (request, alive)
}

/// Is pending once, then fails.
fn failing(
    keep: &Recording,
) -> impl Service<Upload, Response = (), Error = BoxError, Future: Send> + Clone + use<> {
    let keep = keep.clone();
    service_fn(move |request: Upload| {
        keep.note(Did::Call(request.form));
        async move {
            tokio::task::yield_now().await;
            drop(request);
            Err::<(), BoxError>("no".into())
        }
    })
}

/// The request is kept once, and the last attempt is known as the last.
#[tokio::test(start_paused = true)]
async fn a_request_is_kept_once() {
    let keep = Recording::new(u32::MAX);
    let (request, alive) = upload();
    let service = layer(&keep, 2).layer(failing(&keep));
    service.oneshot(request).await.unwrap_err();
    let expected = [
        Did::Keep,
        Did::Call(1),
        Did::Ask,
        Did::Again,
        Did::Call(2),
        Did::Ask,
        Did::AgainLast,
        Did::Call(3),
    ];
    assert_eq!(keep.did(), expected);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// An asynchronous hook receives the kept form of each request, and the same holds.
#[tokio::test(start_paused = true)]
async fn a_request_is_kept_once_before_an_asynchronous_hook() {
    let keep = Recording::new(u32::MAX);
    let (request, alive) = upload();
    let retry = layer(&keep, 2).before_attempt_async(|mut request: Upload, _| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        request.form += 10;
        Ok::<_, BoxError>(request)
    });
    let service = retry.layer(failing(&keep));
    service.oneshot(request).await.unwrap_err();
    let expected = [
        Did::Keep,
        Did::Call(11),
        Did::Ask,
        Did::Again,
        Did::Call(12),
        Did::Ask,
        Did::AgainLast,
        Did::Call(13),
    ];
    assert_eq!(keep.did(), expected);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Without retries the request is not kept, and so not changed.
#[tokio::test(start_paused = true)]
async fn without_retries_nothing_is_kept() {
    let keep = Recording::new(u32::MAX);
    let retry = layer(&keep, 0);
    retry
        .layer(failing(&keep))
        .oneshot(upload().0)
        .await
        .unwrap_err();
    assert_eq!(keep.did(), [Did::Call(0)]);
    let keep = Recording::new(u32::MAX);
    let retry = layer(&keep, 0)
        .before_attempt_async(|request: Upload, _| async move { Ok::<_, BoxError>(request) });
    retry
        .layer(failing(&keep))
        .oneshot(upload().0)
        .await
        .unwrap_err();
    assert_eq!(keep.did(), [Did::Call(0)]);
}

/// A kept request that can no longer be repeated ends the retry with its reason, after any attempt.
#[tokio::test(start_paused = true)]
async fn a_request_can_cease_to_be_repeatable() {
    for waits in [false, true] {
        for repeats in 0..=3 {
            let keep = Recording::new(repeats);
            let retry = layer(&keep, 3).on_give_up(|outcome: Result<(), BoxError>, gave_up| {
                outcome.map_err(|error| gave_up.caused_by(error).into())
            });
            let (request, alive) = upload();
            let error = if waits {
                let retry = retry.before_attempt_async(|request: Upload, _| async move {
                    Ok::<_, BoxError>(request)
                });
                retry.layer(failing(&keep)).oneshot(request).await
            } else {
                retry.layer(failing(&keep)).oneshot(request).await
            };
            let error = error.unwrap_err();
            let gave_up = error.downcast_ref::<crate::retry::GaveUp>().unwrap();
            let expected = match repeats {
                3 => GiveUpReason::Exhausted,
                _ => GiveUpReason::NotRepeatable,
            };
            assert_eq!(
                (gave_up.reason(), gave_up.attempts()),
                (expected, repeats + 1)
            );
            assert_eq!(Arc::strong_count(&alive), 1);
        }
    }
}

/// A call that is dropped after any number of polls frees its request and the kept request.
#[tokio::test(start_paused = true)]
async fn a_drop_at_any_point_frees_the_requests() {
    async fn dropped_at_each_await<S>(service: S) -> u32
    where
        S: Service<Upload, Response = (), Error = BoxError> + Clone,
    {
        for polls in 0.. {
            let (request, alive) = upload();
            let mut service = service.clone();
            poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            let over = {
                let mut call = pin!(service.call(request));
                let mut over = false;
                for _ in 0..polls {
                    over = call
                        .as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_ready();
                    tokio::time::advance(Duration::from_secs(1)).await;
                }
                over
            };
            assert_eq!(Arc::strong_count(&alive), 1, "after {polls} polls");
            if over {
                return polls;
            }
        }
        unreachable!()
    }
    let keep = Recording::new(u32::MAX);
    let plain = layer(&keep, 2);
    let polls = dropped_at_each_await(plain.layer(failing(&keep))).await;
    assert!(polls > 5, "{polls}");
    let tracked = plain.layer(JobLayer::new("upload").layer(failing(&keep)));
    dropped_at_each_await(JobLayer::new("call").layer(tracked)).await;
    let slow = plain.before_attempt_async(|request: Upload, _| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, BoxError>(request)
    });
    let polls = dropped_at_each_await(slow.layer(failing(&keep))).await;
    assert!(polls > 8, "{polls}");
}

/// A request that counts its clones.
struct Counted(Arc<AtomicU32>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

/// By `Clone` and by `clone_with`, an attempt clones the request only if another may follow.
#[tokio::test(start_paused = true)]
async fn the_last_attempt_clones_nothing() {
    /// How often the request was cloned when each attempt was called.
    async fn clones<C, A>(
        retry: RetryLayer<OnError, HookSet<C, KeepOutcome, LayerBudget, LayerRetries, A>>,
    ) -> Vec<u32>
    where
        C: KeepRequest<Counted> + Clone,
        A: BeforeAttempt<Counted, (), BoxError> + Clone,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        let inner = service_fn(move |request: Counted| {
            sees.lock().unwrap().push(request.0.load(Ordering::Relaxed));
            async { Err::<(), BoxError>("no".into()) }
        });
        let request = Counted(Arc::default());
        retry.layer(inner).oneshot(request).await.unwrap_err();
        std::mem::take(&mut *seen.lock().unwrap())
    }
    let retry = RetryLayer::new();
    let cloned = retry
        .clone()
        .clone_with(|request: &Counted| Some(request.clone()));
    let hook = |request: Counted, _: &Attempt<'_>| std::future::ready(Ok::<_, BoxError>(request));
    assert_eq!(clones(retry.clone()).await, [1, 2, 3, 3]);
    assert_eq!(clones(cloned.clone()).await, [1, 2, 3, 3]);
    assert_eq!(
        clones(retry.clone().before_attempt_async(hook)).await,
        [1, 2, 3, 3]
    );
    assert_eq!(
        clones(cloned.clone().before_attempt_async(hook)).await,
        [1, 2, 3, 3]
    );
    assert_eq!(clones(retry.max_retries(0)).await, [0]);
    assert_eq!(clones(cloned.max_retries(0)).await, [0]);
    // `None` for a later attempt: that attempt is the last.
    let twice = RetryLayer::new().clone_with(|request: &Counted| {
        (request.0.load(Ordering::Relaxed) < 2).then(|| request.clone())
    });
    assert_eq!(clones(twice).await, [1, 2, 2]);
}
