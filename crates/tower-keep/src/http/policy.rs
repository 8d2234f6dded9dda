//! `HttpPolicy`: decides which HTTP requests are repeated, and when.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, StatusCode};

use super::{
    classify::{Finding, describe},
    error_kind::ErrorKind,
    hint::{Hint, RetryHint, StandardHints},
    message::{HttpRequest, HttpResponse},
    repeat::RepeatRequest,
    status::{Answer, Retried},
};
use crate::{
    Rejection,
    for_request::{AskRequest, ForRequest},
    retry::{Attempt, Decision, Policy},
};

/// Decides which HTTP requests are repeated, and when. Made by
/// [`RetryLayer::http`](crate::RetryLayer::http).
#[derive(Clone)]
pub struct HttpPolicy<M = ByRequest> {
    /// Statuses that are retried in addition to those of the table.
    pub(super) statuses: Vec<StatusCode>,
    pub(super) hints: Option<Arc<dyn RetryHint + Send + Sync>>,
    pub(super) every_method: bool,
    pub(super) repeat_by: M,
}

impl HttpPolicy {
    pub(super) const fn new() -> Self {
        Self {
            statuses: Vec::new(),
            hints: None,
            every_method: false,
            repeat_by: ByRequest,
        }
    }
}

/// After which failures a request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "it is in a public trait impl")]
pub enum Repeatable {
    /// After every failure that may pass: the request is idempotent.
    Idempotent,
    /// Only if the server never processed it.
    NeverSent,
    Never,
}

/// Chooses whether a request may be repeated.
#[diagnostic::on_unimplemented(
    message = "the closure given to `repeat_by` does not take `&{Request}`",
    label = "the service takes `{Request}`",
    note = "the closure has to be an `Fn(&{Request}) -> Option<RepeatRequest>`"
)]
pub trait ChooseRepeat<Request>: sealed::Sealed {
    /// The choice for this request; `None` leaves it to the request.
    #[doc(hidden)]
    fn choose(&self, request: &Request) -> Option<RepeatRequest>;
}

/// Leaves the choice to the request: its extension, its method, its `Idempotency-Key`. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRequest;

impl<Request> ChooseRepeat<Request> for ByRequest {
    fn choose(&self, _: &Request) -> Option<RepeatRequest> {
        None
    }
}

/// Chooses with a closure. Made by [`RetryLayer::repeat_by`](crate::RetryLayer::repeat_by).
#[derive(Clone)]
pub struct RepeatBy<F>(pub(super) ForRequest<F>);

#[diagnostic::do_not_recommend]
impl<F, Request> ChooseRepeat<Request> for RepeatBy<F>
where
    ForRequest<F>: AskRequest<Request, Option<RepeatRequest>>,
{
    fn choose(&self, request: &Request) -> Option<RepeatRequest> {
        self.0.ask(request)
    }
}

impl<M, Request, Response, Error> Policy<Request, Response, Error> for HttpPolicy<M>
where
    M: ChooseRepeat<Request>,
    Request: HttpRequest,
    Response: HttpResponse,
    Error: 'static,
{
    type Seen = Repeatable;

    fn see(&self, request: &Request) -> Repeatable {
        let in_extension = || request.extensions()?.get().copied();
        match self.repeat_by.choose(request).or_else(in_extension) {
            Some(RepeatRequest::Allowed) => Repeatable::Idempotent,
            Some(RepeatRequest::Forbidden) => Repeatable::Never,
            None if self.every_method
                || request.method().is_idempotent()
                || has_idempotency_key(request.headers()) =>
            {
                Repeatable::Idempotent
            }
            None => Repeatable::NeverSent,
        }
    }

    fn see_resumption(&self, request: &Request) -> Option<Repeatable> {
        let repeatable = Policy::<Request, Response, Error>::see(self, request);
        (repeatable != Repeatable::Never).then_some(repeatable)
    }

    fn decide(
        &self,
        repeatable: &Repeatable,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision {
        let is_idempotent = *repeatable == Repeatable::Idempotent;
        let if_idempotent = |decision| {
            if is_idempotent {
                decision
            } else {
                Decision::Stop
            }
        };
        // The limit may have answered with a response.
        if attempt.timed_out() {
            return if_idempotent(Decision::Retry);
        }
        match Finding::of(result) {
            Finding::Answer(answer) => match self.after_answer(answer, result.as_ref().ok()) {
                // The server forbids it to all.
                Decision::Never => Decision::Never,
                decision => if_idempotent(decision),
            },
            Finding::Error(ErrorKind::NeverSent) if *repeatable != Repeatable::Never => {
                Decision::Retry
            }
            Finding::Error(ErrorKind::Permanent) => Decision::Stop,
            Finding::Error(_) | Finding::Rejected(Rejection::TimedOut) => {
                if_idempotent(Decision::Retry)
            }
            Finding::Rejected(_) => Decision::Stop,
        }
    }

    fn is_failure(&self, response: &Response) -> bool {
        let answer = Answer::of(response);
        answer.fails_job()
            || self.retried(answer) != Retried::No
            || self.own_hint(answer, response).is_some()
    }

    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        describe(result)
    }
}

impl<M> HttpPolicy<M> {
    /// `response` is `None` if the answer came as an error.
    fn after_answer<T: HttpResponse>(&self, answer: Answer, response: Option<&T>) -> Decision {
        let Some(response) = response else {
            return match self.retried(answer) {
                Retried::Always => Decision::Retry,
                Retried::IfHinted | Retried::No => Decision::Stop,
            };
        };
        let (status, headers) = (response.status(), response.headers());
        if let Some(hint) = self.own_hint(answer, response) {
            return after(hint, headers);
        }
        match self.retried(answer) {
            Retried::No => Decision::Stop,
            retried => match StandardHints.hint(status, headers) {
                Some(hint) => after(hint, headers),
                None if retried == Retried::Always => Decision::Retry,
                None => Decision::Stop,
            },
        }
    }

    /// With a hint of the user, a failure of any status may pass.
    fn own_hint<T: HttpResponse>(&self, answer: Answer, response: &T) -> Option<Hint> {
        let hints = self.hints.as_ref().filter(|_| is_error(answer))?;
        hints.hint(response.status(), response.headers())
    }

    fn retried(&self, answer: Answer) -> Retried {
        match answer {
            Answer::Http(status) if self.statuses.contains(&status) => Retried::Always,
            answer => answer.retried(),
        }
    }
}

fn after(hint: Hint, headers: &HeaderMap) -> Decision {
    match hint.delay(headers) {
        Some(delay) => Decision::RetryAfter(delay),
        None => Decision::Never,
    }
}

fn is_error(answer: Answer) -> bool {
    match answer {
        Answer::Http(status) => status.is_client_error() || status.is_server_error(),
        Answer::Grpc(status) => !status.is_ok(),
    }
}

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn has_idempotency_key(headers: &HeaderMap) -> bool {
    // The text may be in quotes. Without characters in them, a server sees no key.
    let is_blank = |byte: &u8| matches!(byte, b'"' | b' ' | b'\t');
    headers
        .get(&IDEMPOTENCY_KEY)
        .is_some_and(|key| !key.as_bytes().iter().all(is_blank))
}

impl<M> fmt::Debug for HttpPolicy<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPolicy")
            .field("statuses", &self.statuses)
            .field("hints", &self.hints.is_some())
            .field("every_method", &self.every_method)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for RepeatBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatBy").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ByRequest {}
    impl<F> Sealed for super::RepeatBy<F> {}
}
