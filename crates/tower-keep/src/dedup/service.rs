//! The service.

use std::{
    fmt,
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::runtime::Handle;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use super::{
    error::Duplicate,
    execution::Execution,
    flight::Caller,
    future::{self, ResponseFuture},
    join::{self, JoinFuture, Joinable, Links},
    kept::{Asked, Hit},
    keys::Joined,
    layer::{DedupKey, DedupLayer},
    mode::{Debounce, JoinMode, KeepMode, Latest, Reject},
    replace::ReplaceFuture,
    share::ShareError,
    wait_graph::Nested,
};
use crate::{
    event::{EventKind, JobId},
    job::{
        context,
        core::{Core, followers::Following},
        panic::before_service,
        seat::Seat,
    },
    reject::{Fail, OnReject},
};

/// The service that [`DedupLayer`] makes.
#[derive(Clone)]
pub struct Dedup<S, Y, M = Reject, O = Fail> {
    inner: S,
    layer: DedupLayer<Y, M, O>,
}

impl<S, Y, M, O> Dedup<S, Y, M, O> {
    pub(super) fn new(inner: S, layer: DedupLayer<Y, M, O>) -> Self {
        Self { inner, layer }
    }
}

fn job_of(seat: &Seat) -> Option<Arc<Core>> {
    seat.with_job(Arc::clone)
}

/// The instance that was called, which serves the execution; a clone takes the next calls.
fn called<S: Clone>(inner: &mut S) -> S {
    let next = inner.clone();
    mem::replace(inner, next)
}

fn tell_duplicate(seat: &Seat, of: Option<JobId>, joined: bool) {
    seat.with_job(|job| {
        // Another job does the work.
        job.word.hold_back();
        context::emit(job, || EventKind::Duplicate { of, joined });
    });
}

/// Executes for nobody but those that come later, and not for ever: a renewal that hangs must not keep the key from them.
#[cold]
fn renew<T: Clone + Send + Sync + 'static>(mut caller: Caller<T>, within: Duration) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let renewal = poll_fn(|cx| caller.poll(cx));
            drop(tokio::time::timeout(within, renewal).await);
        });
    }
}

#[cold]
fn tell_kept(seat: &Seat, hit: &Hit) {
    seat.with_job(|job| {
        job.word.hold_back();
        context::emit(job, || EventKind::AnsweredFromKept {
            of: hit.of,
            age: hit.age,
            stale: hit.stale,
        });
    });
}

impl<S, Y: Clone, M: Clone, O: Clone> Layer<S> for DedupLayer<Y, M, O> {
    type Service = Dedup<S, Y, M, O>;

    fn layer(&self, inner: S) -> Dedup<S, Y, M, O> {
        Dedup::new(inner, self.clone())
    }
}

impl<S, Y, O, Request> Service<Request> for Dedup<S, Y, Reject, O>
where
    S: Service<Request> + Clone,
    Y: DedupKey<Request>,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S, Request, Y::Key, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let seat = Seat::without_call();
        let lead = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            Some(keys.mark(key, job_of(&seat).map(|job| job.id())))
        })
        .transpose();
        let state = match lead {
            Ok(lead) => future::State::Executing {
                execution: Execution::new(called(&mut self.inner), request, lead, &seat),
            },
            Err(of) => {
                tell_duplicate(&seat, of, false);
                future::State::Rejected {
                    duplicate: Some(Duplicate::new(of)),
                }
            }
        };
        ResponseFuture::new(state, layer.on_reject.clone(), seat)
    }
}

impl<S, Y, O, Request> Service<Request> for Dedup<S, Y, Latest, O>
where
    S: Service<Request> + Clone,
    Y: DedupKey<Request>,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ReplaceFuture<S, Request, Y::Key, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let seat = Seat::without_call();
        let hold = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            let (job, shown) = (job_of(&seat), keys.shown(&key));
            Some(keys.places.take_place(key, shown, job.as_ref()))
        });
        let execution = Execution::new(called(&mut self.inner), request, None, &seat);
        ReplaceFuture::new(execution, hold, layer.on_reject.clone(), seat)
    }
}

impl<S, Y, O, Request> Service<Request> for Dedup<S, Y, Debounce, O>
where
    S: Service<Request> + Clone,
    Y: DedupKey<Request>,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ReplaceFuture<S, Request, Y::Key, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let seat = Seat::without_call();
        let hold = before_service(|| {
            let (key, keys) = layer.key.key(&request)?;
            let (job, shown) = (job_of(&seat), keys.shown(&key));
            Some(keys.places.line_up(key, shown, job.as_ref(), &layer.mode))
        });
        let execution = Execution::new(called(&mut self.inner), request, None, &seat);
        ReplaceFuture::new(execution, hold, layer.on_reject.clone(), seat)
    }
}

impl<S, Y, M, O, Request> Service<Request> for Dedup<S, Y, M, O>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Clone + Send + Sync + 'static,
    S::Error: fmt::Display + 'static,
    Request: Send + 'static,
    Y: DedupKey<Request>,
    Y::Key: fmt::Debug + Send + 'static,
    M: JoinMode + KeepMode<S::Response, S::Error>,
    O: OnReject<Duplicate, S::Response, S::Error>
        + ShareError<S::Error, Given = <O as OnReject<Duplicate, S::Response, S::Error>>::Error>
        + Clone,
    O::Given: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Given;
    type Future = JoinFuture<S, Request, Y::Key, O::Shared, O>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), O::Given>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let inner = &mut self.inner;
        let seat = Seat::without_call();
        let state = match before_service(|| layer.key.key(&request)) {
            None => join::State::Alone {
                execution: Execution::new(called(inner), request, None, &seat),
            },
            Some((key, keys)) => {
                let job = job_of(&seat);
                let id = job.as_ref().map(|job| job.id());
                let asked = layer.mode.kept().0.map(Asked::now);
                let mut nested = before_service(|| Nested::new(&key));
                let mut waits = None;
                let joined = before_service(|| {
                    keys.join_or_begin(key, job.as_ref(), asked, |lead, job| {
                        let execution = lead.execution();
                        // Before its code can run, so that it waits for nothing yet.
                        waits = nested.take().and_then(|call| call.wait(execution, id).ok());
                        let call =
                            |seat: &Seat| Execution::new(called(inner), request, Some(lead), seat);
                        // Whichever caller polls it.
                        Joinable::new(execution, call, O::share, layer.mode.clone(), job)
                            .in_current_span()
                    })
                });
                match joined {
                    Joined::First(caller) => join::State::Joined {
                        caller,
                        of: id,
                        links: Links::of(None, waits),
                    },
                    Joined::Kept { hit, renewal } => {
                        if let (Some(caller), Some(asked)) = (renewal, asked) {
                            renew(caller, asked.limits.stale);
                        }
                        tell_kept(&seat, &hit);
                        join::State::Kept {
                            response: hit.response.downcast().ok(),
                        }
                    }
                    Joined::Another {
                        caller,
                        execution,
                        of,
                        work,
                    } => match nested.map(|call| call.wait(execution, of)).transpose() {
                        Ok(waits) => {
                            keys.count_joined(true);
                            tell_duplicate(&seat, of, true);
                            let following =
                                (job.zip(work)).and_then(|(job, work)| Following::new(job, work));
                            join::State::Joined {
                                caller,
                                of,
                                links: Links::of(following, waits),
                            }
                        }
                        Err(cycle) => {
                            keys.count_joined(false);
                            tell_duplicate(&seat, of, false);
                            let duplicate = Some(Duplicate::of_itself(of, cycle));
                            join::State::Rejected { duplicate }
                        }
                    },
                }
            }
        };
        JoinFuture::new(state, layer.on_reject.clone(), seat)
    }
}

impl<S: fmt::Debug, Y: fmt::Debug, M: fmt::Debug, O> fmt::Debug for Dedup<S, Y, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
