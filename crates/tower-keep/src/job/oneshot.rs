//! A call that first waits for the service's readiness.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::membership::Membership;
use crate::event::JobId;

pin_project! {
    /// Waits for a service's readiness and calls it, within the polls of a layer that calls late.
    pub(crate) struct Oneshot<S, Request>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, Request, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, F> {
        Readying { service: S, request: Option<Request> },
        Calling { #[pin] future: F },
        Over,
    }
}

impl<S, Request> Oneshot<S, Request>
where
    S: Service<Request>,
{
    /// Holds the job, if there is one, until the service is ready.
    pub(crate) fn new(service: S, request: Request, membership: &Membership) -> Self {
        membership.with_job(|job| job.flags.hold());
        Self {
            state: State::Readying {
                service,
                request: Some(request),
            },
        }
    }

    /// Polls in the job of this membership. `begun` gets the job that the call begins.
    #[inline(always)]
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        membership: &mut Membership,
        cx: &mut Context<'_>,
        begun: impl FnOnce(JobId),
    ) -> Poll<Result<S::Response, S::Error>> {
        let mut state = self.project().state;
        if let StateProj::Readying { service, request } = state.as_mut().project() {
            if let Err(error) = ready!(membership.run(|| service.poll_ready(cx))) {
                return Poll::Ready(Err(error));
            }
            let Some(request) = request.take() else {
                panic!("a call was polled after it was ready")
            };
            membership.with_job(|job| job.release());
            let had_job = membership.has_job();
            let future = membership.recall(|| service.call(request));
            if !had_job {
                membership.with_job(|job| begun(job.id()));
            }
            state.set(State::Calling { future });
        }
        match state.project() {
            StateProj::Calling { future } => membership.run(|| future.poll(cx)),
            StateProj::Readying { .. } => unreachable!("the service was called"),
            StateProj::Over => panic!("a call was polled after it was ready"),
        }
    }

    /// Drops the call and its borrow of the service.
    pub(crate) fn clear(self: Pin<&mut Self>) {
        self.project().state.set(State::Over);
    }
}
