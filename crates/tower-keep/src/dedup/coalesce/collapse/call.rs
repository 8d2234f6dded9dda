//! A call joins the exchange of its key, or begins one.

use std::{hash::Hash, sync::Arc};

use tower_service::Service;
use tracing::{Instrument as _, level_filters::LevelFilter};

use super::{
    super::{
        super::{
            bounds::{CloneService, JoinKey},
            error::Duplicate,
            execution::Execution,
            key_table::KeyTable,
            layer::DedupLayer,
            lookup::Joined,
            mode::NoCache,
            service::{Mode, emit_duplicate, job_of, take_called},
        },
        flight::FlightFuture,
        future::Links,
        joined_execution::JoinedExecution,
        wait_graph::NestedCall,
    },
    Collapse, CollapsePolicy,
    future::{Change, CollapseFuture, Own, State},
};
use crate::{
    display_error::DisplayError,
    error::BoxError,
    for_request::AskRequest,
    job::{core::followers::Following, membership::Membership, panic::before_service},
    reject::OnReject,
};

impl<S, K, P, O, Request> Mode<Request, S, K, O> for Collapse<P>
where
    S: Service<Request> + CloneService + Send + 'static,
    S::Error: Into<BoxError>,
    Request: Send + 'static,
    K: JoinKey + Clone + Eq + Hash,
    P: CollapsePolicy<S, Request, Key = K>,
    O: OnReject<Duplicate, P::Response, BoxError> + Clone,
    O::Error: DisplayError,
{
    type Response = P::Response;
    type Error = O::Error;
    type Future = CollapseFuture<S, Request, K, P::Answer, P, O>;

    fn call<F>(inner: &mut S, layer: &DedupLayer<F, K, Self, O>, request: Request) -> Self::Future
    where
        F: AskRequest<Request, Option<K>>,
    {
        let policy = &layer.mode.0;
        let membership = Membership::without_call();
        let shared = before_service(|| {
            let key = layer.key.ask(&request)?;
            Some((key, policy.copy(&request)?))
        });
        let state = match shared {
            None => {
                let change = before_service(|| P::changes(&request)).map(|concerns| {
                    let keys = Arc::clone(&layer.keys);
                    Change::new(move || keys.forget_where(&concerns))
                });
                State::Alone {
                    execution: Execution::new(take_called(inner), request, None, &membership),
                    change,
                }
            }
            Some((key, copy)) => {
                let call = Call {
                    keys: &layer.keys,
                    key,
                    copy,
                    membership: &membership,
                };
                call.join_or_begin(inner, policy, request)
            }
        };
        CollapseFuture::new(state, layer.on_reject.clone(), membership)
    }
}

/// A call whose request has a key.
struct Call<'a, K, Request> {
    keys: &'a Arc<KeyTable<K>>,
    key: K,
    copy: Request,
    membership: &'a Membership,
}

impl<K, Request> Call<'_, K, Request>
where
    K: JoinKey + Clone + Eq + Hash,
    Request: Send + 'static,
{
    fn join_or_begin<S, P>(
        self,
        inner: &mut S,
        policy: &P,
        request: Request,
    ) -> State<S, Request, K, P::Answer>
    where
        S: Service<Request> + Clone,
        P: CollapsePolicy<S, Request>,
    {
        let Self {
            keys,
            key,
            copy,
            membership,
        } = self;
        let job = job_of(membership);
        let id = job.as_ref().map(|job| job.id());
        let mut nested = before_service(|| NestedCall::new(&key));
        let mut waits = None;
        let joined = before_service(|| {
            keys.join_or_begin(key, job.as_ref(), None, |guard, job, _| {
                let execution = guard.execution();
                // Before the execution's code can run, so that it waits for nothing yet.
                waits = nested.take().and_then(|call| call.wait(execution, id).ok());
                let call = |membership: &Membership| {
                    let exchange = policy.exchange(take_called(inner));
                    Execution::new(exchange, request, Some(guard), membership)
                };
                let execution = JoinedExecution::new(execution, call, Arc::new, NoCache, job);
                // The leader's span, whichever caller polls. Without a subscriber there is no span.
                match LevelFilter::current() {
                    LevelFilter::OFF => Box::pin(execution) as FlightFuture<_>,
                    _ => Box::pin(execution.in_current_span()),
                }
            })
        });
        let (caller, of, links) = match joined {
            Joined::Leader(caller) => (caller, id, Links::of(None, waits)),
            Joined::Follower {
                caller,
                execution,
                of,
                work,
            } => match nested.map(|call| call.wait(execution, of)).transpose() {
                Ok(waits) => {
                    keys.count_joined(true);
                    emit_duplicate(membership, of, true);
                    let following =
                        (job.zip(work)).and_then(|(job, work)| Following::new(job, work));
                    (caller, of, Links::of(following, waits))
                }
                Err(cycle) => {
                    keys.count_joined(false);
                    emit_duplicate(membership, of, false);
                    let duplicate = Some(Duplicate::in_cycle(of, cycle));
                    return State::Rejected { duplicate };
                }
            },
            Joined::Hit { .. } => unreachable!("nothing is cached"),
        };
        let own = Some(Own {
            service: inner.clone(),
            request: copy,
        });
        State::Joined {
            caller,
            of,
            links,
            own,
        }
    }
}
