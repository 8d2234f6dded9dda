//! The attempts of a resumption: they begin with a wait, and leave what a later one needs.

use std::{fmt, pin::Pin, time::Duration};

use tower_service::Service;

use super::{ResponseFuture, RetryCall, State};
use crate::{
    job::membership::Membership,
    retry::{backoff::JitterState, hooks::Hooks, next_attempt::Next, policy::Policy},
};

/// What a resumption leaves for a later one.
pub(in crate::retry) struct Rest<S, Kept> {
    pub(in crate::retry) next: Option<(S, Kept)>,
    pub(in crate::retry) attempt: u32,
    pub(in crate::retry) jitter: Option<Box<JitterState>>,
}

impl<S, Request, P, X> ResponseFuture<S, Request, P, X>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The attempts of a resumption, from the wait before the first. `attempt` has failed.
    pub(in crate::retry) fn waiting(
        delay: Duration,
        next: Option<(S, X::Kept)>,
        call: RetryCall<P::Seen, P, X>,
        attempt: u32,
        jitter: Option<Box<JitterState>>,
        membership: Membership,
    ) -> Self {
        let next = next.map(|(service, kept)| Next {
            service,
            kept: Some(kept),
        });
        Self {
            attempt,
            jitter,
            ..Self::new(State::waiting(delay, None), next, call, membership)
        }
    }

    /// Takes what a later resumption needs. The attempts have this result.
    pub(in crate::retry) fn take_rest(
        self: Pin<&mut Self>,
        result: &Result<S::Response, S::Error>,
    ) -> Rest<S, X::Kept>
    where
        S::Error: fmt::Display,
    {
        let this = self.project();
        this.membership.finish(&result.as_ref().map(|_| ()));
        let next = this.next.take();
        Rest {
            next: next.and_then(|next| Some((next.service, next.kept?))),
            attempt: *this.attempt,
            jitter: this.jitter.take(),
        }
    }
}
