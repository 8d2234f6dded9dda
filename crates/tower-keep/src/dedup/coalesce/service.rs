//! The service where calls with a key in flight join.

use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use tokio::runtime::Handle;
use tower_service::Service;
use tracing::{Instrument as _, level_filters::LevelFilter};

use super::{
    super::{
        cache::{Asked, Hit},
        error::Duplicate,
        execution::Execution,
        keys::{Joined, Purpose},
        layer::DedupKey,
        mode::{JoinMode, KeepMode, RefreshMode},
        service::{Dedup, called, job_of, tell_duplicate},
    },
    flight::{self, Caller},
    future::{self, JoinFuture, Links},
    joinable::Joinable,
    share::ShareError,
    wait_graph::Nested,
};
use crate::{
    event::EventKind,
    job::{context, core::followers::Following, membership::Membership, panic::before_service},
    reject::OnReject,
};

/// Renews a result for calls that come later. It has a limit: a renewal that hangs must not keep the key from them.
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
fn tell_hit(membership: &Membership, hit: &Hit) {
    membership.with_job(|job| {
        job.flags.hold_back();
        context::emit(job, || EventKind::AnsweredFromKept {
            of: hit.of,
            age: hit.age,
            stale: hit.stale,
        });
    });
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
    M: JoinMode + KeepMode<S::Response, S::Error> + RefreshMode<Request>,
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
        let membership = Membership::without_call();
        let state = match before_service(|| layer.key.key(&request)) {
            None => future::State::Alone {
                execution: Execution::new(called(inner), request, None, &membership),
            },
            Some((key, keys)) => {
                let job = job_of(&membership);
                let id = job.as_ref().map(|job| job.id());
                // A call that refreshes asks for nothing that is cached.
                let asked = match layer.mode.kept().0 {
                    Some(limits) if !before_service(|| layer.mode.refreshes(&request)) => {
                        Some(Asked::now(limits))
                    }
                    _ => None,
                };
                let mut nested = before_service(|| Nested::new(&key));
                let mut waits = None;
                let joined = before_service(|| {
                    keys.join_or_begin(key, job.as_ref(), asked, |lead, job, purpose| {
                        let execution = lead.execution();
                        if purpose == Purpose::Call {
                            // Before its code can run, so that it waits for nothing yet.
                            waits = nested.take().and_then(|call| call.wait(execution, id).ok());
                        }
                        let call = |membership: &Membership| {
                            Execution::new(called(inner), request, Some(lead), membership)
                        };
                        let joinable =
                            Joinable::new(execution, call, O::share, layer.mode.clone(), job);
                        // Whichever caller polls it. Without a subscriber there is no span.
                        match LevelFilter::current() {
                            LevelFilter::OFF => Box::pin(joinable) as flight::Execution<_>,
                            _ => Box::pin(joinable.in_current_span()),
                        }
                    })
                });
                match joined {
                    Joined::Leader(caller) => future::State::Joined {
                        caller,
                        of: id,
                        links: Links::of(None, waits),
                    },
                    Joined::Hit { hit, renewal } => {
                        if let (Some(caller), Some(asked)) = (renewal, asked) {
                            renew(caller, asked.limits.stale);
                        }
                        tell_hit(&membership, &hit);
                        future::State::Cached {
                            response: hit.response.downcast().ok(),
                        }
                    }
                    Joined::Follower {
                        caller,
                        execution,
                        of,
                        work,
                    } => match nested.map(|call| call.wait(execution, of)).transpose() {
                        Ok(waits) => {
                            keys.count_joined(true);
                            tell_duplicate(&membership, of, true);
                            let following =
                                (job.zip(work)).and_then(|(job, work)| Following::new(job, work));
                            future::State::Joined {
                                caller,
                                of,
                                links: Links::of(following, waits),
                            }
                        }
                        Err(cycle) => {
                            keys.count_joined(false);
                            tell_duplicate(&membership, of, false);
                            let duplicate = Some(Duplicate::of_itself(of, cycle));
                            future::State::Rejected { duplicate }
                        }
                    },
                }
            }
        };
        JoinFuture::new(state, layer.on_reject.clone(), membership)
    }
}
