//! Join mode: a call joins the execution of its key, gets a cached result, or revalidates a stale
//! one.

use std::{future::poll_fn, hash::Hash, time::Duration};

use tokio::runtime::Handle;
use tower_service::Service;
use tracing::{Instrument as _, level_filters::LevelFilter};

use super::{
    super::{
        bounds::{CloneService, JoinKey, SharedResponse},
        cache::{CacheAccess, Hit},
        error::Duplicate,
        execution::Execution,
        layer::DedupLayer,
        lookup::{Joined, Purpose},
        mode::{CacheMode, Join},
        service::{Mode, emit_duplicate, job_of, take_called},
    },
    flight::{Caller, FlightFuture},
    future::{self, JoinFuture, Links},
    joined_execution::JoinedExecution,
    share_error::ShareError,
    wait_graph::NestedCall,
};
use crate::{
    display_error::DisplayError,
    event::EventKind,
    for_request::AskRequest,
    job::{context, core::followers::Following, membership::Membership, panic::before_service},
    reject::OnReject,
};

/// Revalidates a result for later calls. The time limit frees the key of a revalidation that hangs.
#[cold]
fn revalidate<T: Clone + Send + Sync + 'static>(mut caller: Caller<T>, within: Duration) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let revalidation = poll_fn(|cx| caller.poll(cx));
            drop(tokio::time::timeout(within, revalidation).await);
        });
    }
}

#[cold]
fn emit_hit(membership: &Membership, hit: &Hit) {
    membership.with_job(|job| {
        job.flags.hold_back();
        context::emit(job, || EventKind::CacheHit {
            of: hit.of,
            age: hit.age,
            stale: hit.stale,
        });
    });
}

impl<S, K, C, O, Request> Mode<Request, S, K, O> for Join<C>
where
    S: Service<Request> + CloneService + Send + 'static,
    S::Future: Send + 'static,
    S::Response: SharedResponse,
    S::Error: DisplayError + 'static,
    Request: Send + 'static,
    K: JoinKey + Clone + Eq + Hash,
    C: CacheMode<Request, S::Response, S::Error>,
    O: OnReject<Duplicate, S::Response, S::Error>
        + ShareError<S::Error, Given = <O as OnReject<Duplicate, S::Response, S::Error>>::Error>
        + Clone,
    O::Given: DisplayError,
{
    type Response = S::Response;
    type Error = O::Given;
    type Future = JoinFuture<S, Request, K, O::Shared, O>;

    fn call<F>(inner: &mut S, layer: &DedupLayer<F, K, Self, O>, request: Request) -> Self::Future
    where
        F: AskRequest<Request, Option<K>>,
    {
        let keys = &layer.keys;
        let cache = &layer.mode.0;
        let membership = Membership::without_call();
        let state = match before_service(|| layer.key.ask(&request)) {
            None => future::State::Alone {
                execution: Execution::new(take_called(inner), request, None, &membership),
            },
            Some(key) => {
                let job = job_of(&membership);
                let id = job.as_ref().map(|job| job.id());
                // A refreshing call does not read the cache.
                let access = match cache.limits() {
                    Some(limits) if !before_service(|| cache.refreshes(&request)) => {
                        Some(CacheAccess::now(limits))
                    }
                    _ => None,
                };
                let mut nested = before_service(|| NestedCall::new(&key));
                let mut waits = None;
                let joined = before_service(|| {
                    keys.join_or_begin(key, job.as_ref(), access, |guard, job, purpose| {
                        let execution = guard.execution();
                        if purpose == Purpose::Call {
                            // Before the execution's code can run, so that it waits for nothing
                            // yet.
                            waits = nested.take().and_then(|call| call.wait(execution, id).ok());
                        }
                        let call = |membership: &Membership| {
                            Execution::new(take_called(inner), request, Some(guard), membership)
                        };
                        let joined_execution =
                            JoinedExecution::new(execution, call, O::share, cache.clone(), job);
                        // The leader's span, whichever caller polls. Without a subscriber there is
                        // no span.
                        match LevelFilter::current() {
                            LevelFilter::OFF => Box::pin(joined_execution) as FlightFuture<_>,
                            _ => Box::pin(joined_execution.in_current_span()),
                        }
                    })
                });
                match joined {
                    Joined::Leader(caller) => future::State::Joined {
                        caller,
                        of: id,
                        links: Links::of(None, waits),
                    },
                    Joined::Hit { hit, revalidation } => {
                        if let (Some(caller), Some(access)) = (revalidation, access) {
                            revalidate(caller, access.limits.stale);
                        }
                        emit_hit(&membership, &hit);
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
                            emit_duplicate(&membership, of, true);
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
                            emit_duplicate(&membership, of, false);
                            let duplicate = Some(Duplicate::in_cycle(of, cycle));
                            future::State::Rejected { duplicate }
                        }
                    },
                }
            }
        };
        JoinFuture::new(state, layer.on_reject.clone(), membership)
    }
}
