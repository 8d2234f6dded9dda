//! Reject mode, the default: a duplicate of a call in flight fails.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    bounds::CloneService,
    error::Duplicate,
    execution::Execution,
    layer::DedupLayer,
    mode::Reject,
    service::{Mode, emit_duplicate, job_of, take_called},
};
use crate::{
    display_error::DisplayError,
    for_request::AskRequest,
    job::{
        membership::Membership,
        panic::before_service,
        verdict::{self, VerdictKind},
    },
    reject::OnReject,
};

pin_project! {
    /// A call, which is executed or rejected.
    #[must_use = "futures do nothing unless polled"]
    pub struct RejectFuture<S, Request, K, O>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        state: State<S, Request, K>,
        on_reject: O,
        membership: Membership,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, K>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        Executing { #[pin] execution: Execution<S, Request, K> },
        Rejected { duplicate: Option<Duplicate> },
    }
}

impl<S, K, O, Request> Mode<Request, S, K, O> for Reject
where
    S: Service<Request> + CloneService,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error> + Clone,
    O::Error: DisplayError,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = RejectFuture<S, Request, K, O>;

    #[inline(always)]
    fn call<F>(inner: &mut S, layer: &DedupLayer<F, K, Self, O>, request: Request) -> Self::Future
    where
        F: AskRequest<Request, Option<K>>,
    {
        let membership = Membership::without_call();
        let guard = before_service(|| {
            let key = layer.key.ask(&request)?;
            Some((layer.keys).insert(key, job_of(&membership).map(|job| job.id())))
        })
        .transpose();
        let state = match guard {
            Ok(guard) => State::Executing {
                execution: Execution::new(take_called(inner), request, guard, &membership),
            },
            Err(of) => {
                emit_duplicate(&membership, of, false);
                State::Rejected {
                    duplicate: Some(Duplicate::new(of)),
                }
            }
        };
        RejectFuture {
            state,
            on_reject: layer.on_reject.clone(),
            membership,
        }
    }
}

impl<S, Request, K, O> Future for RejectFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error>,
    O::Error: fmt::Display,
{
    type Output = Result<S::Response, O::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Executing { mut execution } => {
                let result = ready!(execution.as_mut().poll(this.membership, cx));
                execution.release();
                this.membership
                    .ask(|| result.map_err(|error| this.on_reject.pass(error)))
            }
            StateProj::Rejected { duplicate } => {
                let Some(duplicate) = duplicate.take() else {
                    panic!("a rejected call was polled after it was ready");
                };
                // First, as the closure may panic: the job has not started.
                verdict::leave(VerdictKind::Duplicate, this.on_reject.responds());
                this.membership.ask(|| this.on_reject.reject(duplicate))
            }
        };
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        Poll::Ready(result)
    }
}

impl<S, Request, K, O> fmt::Debug for RejectFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectFuture").finish_non_exhaustive()
    }
}
