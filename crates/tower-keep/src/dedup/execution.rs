use std::{
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::lead::Lead;
use crate::job::seat::Seat;

pin_project! {
    /// Makes a service ready and calls it, and holds the key until it is told to free it.
    pub(super) struct Execution<S, Request, K>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        state: State<S, Request, S::Future>,
        lead: Option<Lead<K>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, F> {
        Readying { service: S, request: Option<Request> },
        Calling { #[pin] future: F },
    }
}

impl<S, Request, K> Execution<S, Request, K>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    /// Of a service that is not ready yet. The job, if there is one, is held back until it is.
    pub(super) fn new(service: S, request: Request, lead: Option<Lead<K>>, seat: &Seat) -> Self {
        seat.with_job(|job| job.hold());
        Self {
            state: State::Readying {
                service,
                request: Some(request),
            },
            lead,
        }
    }

    /// The key that it holds. Whoever polls this has to free it before its caller sees the result.
    pub(super) fn lead(self: Pin<&mut Self>) -> &mut Option<Lead<K>> {
        self.project().lead
    }

    /// Polls in the job of this seat.
    #[inline(always)]
    pub(super) fn poll(
        self: Pin<&mut Self>,
        seat: &mut Seat,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.project();
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Readying { service, request } => {
                    match ready!(seat.run(|| service.poll_ready(cx))) {
                        Ok(()) => {
                            let Some(request) = request.take() else {
                                panic!("a deduplicated call was polled after it was ready")
                            };
                            seat.with_job(|job| job.release());
                            let had_job = seat.has_job();
                            let future = seat.recall(|| service.call(request));
                            if !had_job {
                                if let Some(lead) = this.lead {
                                    seat.with_job(|job| lead.set_job(job.id()));
                                }
                            }
                            this.state.set(State::Calling { future });
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
                StateProj::Calling { future } => ready!(seat.run(|| future.poll(cx))),
            };
            return Poll::Ready(result);
        }
    }
}
