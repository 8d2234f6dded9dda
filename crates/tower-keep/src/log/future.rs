//! The response future of Log, which classifies the result.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::fields::{NoFields, ReadResponse};
#[cfg(feature = "http")]
use crate::event::Status;
use crate::{
    classify::{Classify, Outcome, describe},
    job::{call_end::Call, membership::Membership, verdict},
};

pin_project! {
    /// The response future of [`Log`](super::Log).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C, R = NoFields> {
        #[pin]
        future: F,
        classify: C,
        fields: R,
        membership: Membership,
    }
}

impl<F, C, R> ResponseFuture<F, C, R> {
    pub(super) fn new(membership: Membership, future: F, classify: C, fields: R) -> Self {
        Self {
            future,
            classify,
            fields,
            membership,
        }
    }
}

impl<F, C, R, T, E> Future for ResponseFuture<F, C, R>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
    C: Classify<T, E>,
    R: ReadResponse<T>,
{
    type Output = Result<R::Response, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.membership.run(|| this.future.poll(cx)));
        if result.is_ok() {
            #[cfg(feature = "http")]
            note_status(this.membership, this.fields, &result);
            if this.classify.judges_responses() {
                this.membership
                    .ask(|| match this.classify.classify(&result) {
                        Outcome::Success => verdict::succeed(),
                        Outcome::Failure => verdict::fail(describe(this.classify, &result)),
                        Outcome::Ignored => {}
                    });
            }
        } else {
            let describe = || describe(this.classify, &result);
            if let Some(text) = this
                .membership
                .is_heard()
                .then(|| this.membership.ask(describe))
                .flatten()
            {
                verdict::describe(text, false);
            }
        }
        match result {
            Ok(response) => Poll::Ready(Ok(this.fields.finish(response, Call(this.membership)))),
            Err(error) => {
                let result = Err(error);
                this.membership.finish(&result);
                Poll::Ready(result)
            }
        }
    }
}

/// Records the status of the server's response, if it is read.
#[cfg(feature = "http")]
#[inline(always)]
fn note_status<T, E>(
    membership: &Membership,
    fields: &impl ReadResponse<T>,
    result: &Result<T, E>,
) {
    let response = result.as_ref().ok();
    if let Some(status) = response.and_then(|response| fields.status(response)) {
        note(membership, status);
    }
}

/// A layer that stops the call may answer with a response of its own, which is not the server's.
#[cfg(feature = "http")]
#[cold]
fn note(membership: &Membership, status: Status) {
    if verdict::read().is_none_or(|verdict| !verdict.made_response()) {
        membership.with_job(|job| job.end_exchange(status));
    }
}

impl<F: fmt::Debug, C, R> fmt::Debug for ResponseFuture<F, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("future", &self.future)
            .finish_non_exhaustive()
    }
}
