//! `RetryLayer::http`: repeats the requests of an HTTP client that may be repeated.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    authority::Authority,
    drain::DrainBody,
    hint::RetryHint,
    keep::KeepBody,
    message::HttpRequest,
    policy::{ChooseRepeat, HttpPolicy, RepeatBy},
    repeat::RepeatRequest,
};
use crate::{
    for_request::ForRequest,
    retry::{
        Attempt, RetryBudget, RetryBudgets, RetryLayer,
        hook::{
            ChangeRequest, ChangeWith, ChooseBudget, HookSet, KeepOutcome, LayerRetries,
            SealedBudget, Unchanged,
        },
    },
};

/// The hooks of [`RetryLayer::http`](crate::RetryLayer::http).
pub(crate) type HttpHooks =
    HookSet<KeepBody, KeepOutcome, BudgetByAuthority, LayerRetries, Unchanged, DrainBody>;

impl RetryLayer {
    /// For HTTP clients: repeats only what is safe to repeat, and not before the time that the
    /// server asks for.
    ///
    /// It has the waits of [`for_clients`](Self::for_clients): at most three retries, after random
    /// waits of up to 100, 200 and 400 ms.
    ///
    /// # Which requests
    ///
    /// | request | is repeated |
    /// |---|---|
    /// | of an idempotent method: GET, HEAD, OPTIONS, TRACE, QUERY, PUT, DELETE ([RFC 9110, 9.2.2]) | after each failure below |
    /// | of any other method, with an `Idempotency-Key` | after each failure below |
    /// | of any other method | only if the server did not process it: [`NeverSent`](crate::http::ErrorKind::NeverSent) |
    /// | with a body above 64 KiB, or above [`max_body`](Self::max_body) | never; a streamed body still is if no attempt has begun to send it |
    ///
    /// A single request chooses with the extension [`RepeatRequest`]. The layer chooses with
    /// [`repeat_by`](Self::repeat_by) or [`retry_every_method`](Self::retry_every_method).
    ///
    /// A client that follows redirects sends several requests in one attempt. If the last one was
    /// never sent, the first one was. Turn redirects off for a POST that must arrive once: with
    /// reqwest, `redirect(Policy::none())`.
    ///
    /// # After which failures
    ///
    /// | outcome | because |
    /// |---|---|
    /// | 408 | the client may repeat it ([RFC 9110, 15.5.9]) |
    /// | 425 | the server did not risk it in early data ([RFC 8470, 5.2]) |
    /// | 429 | too many requests ([RFC 6585, 4]) |
    /// | 502, 503, 504 | a server on the way, or an overload ([RFC 9110, 15.6.3]) |
    /// | gRPC `unavailable`; `resource exhausted` if the server says when | |
    /// | gRPC `deadline exceeded`, `cancelled` | as 504: often the [limit of the attempt](crate::http::send_deadline#at-the-deadline) |
    /// | an error of the connection, a truncated body, the limit of an attempt | |
    ///
    /// A status of 500 is not retried: often it comes again. [`retry_status`](Self::retry_status)
    /// adds it. 501, 505 and other statuses are not retried. Nor is an invalid request, or a loop
    /// of redirects.
    ///
    /// The error of the inner service must be a [`BoxError`](crate::BoxError) or the client's own
    /// type. The layer cannot look into any other type: it repeats only idempotent requests after
    /// it.
    ///
    /// The inner service must be the client alone. If it sends a second request whose connect fails,
    /// such as to follow a redirect, the error looks as if nothing was sent: see
    /// [redirects](crate::http#redirects). An error made of a response, as by reqwest's
    /// `error_for_status`, has lost `Retry-After`: the retry waits for its backoff. So make it
    /// outside.
    ///
    /// # When
    ///
    /// If the server says when to come back, the retry waits that time and up to 10 % more: see
    /// [`StandardHints`](crate::http::StandardHints) and [`hints`](Self::hints). A time of 0 means
    /// the backoff. The retry gives up at once if the time is longer than
    /// [`max_requested_delay`](Self::max_requested_delay), 60 s, or than the time left.
    ///
    /// # Budget
    ///
    /// Each server has its own budget, by host and port: 20 % of its first attempts, at least 30
    /// retries in 10 s. [`budget_per_authority`](Self::budget_per_authority) changes these numbers.
    /// [`budget`](Self::budget) sets one budget for all servers.
    ///
    /// # Bodies
    ///
    /// A body that is `Clone`, such as `Full<Bytes>`, is cloned. Any other body of an
    /// [`http::Request`] needs a [`ReplayLayer`](crate::ReplayLayer) outside. A streamed body of
    /// reqwest needs none: this layer keeps it while it is sent.
    ///
    /// ```compile_fail,E0277
    /// # use bytes::Bytes;
    /// # use http::{Request, Response};
    /// # use http_body_util::combinators::BoxBody;
    /// # use tower::{Layer, Service, service_fn};
    /// # use tower_keep::{BoxError, RetryLayer};
    /// # fn serve<S: Service<Request<BoxBody<Bytes, BoxError>>>>(_: S) {}
    /// let client = service_fn(|_: Request<BoxBody<Bytes, BoxError>>| async {
    ///     Ok::<_, BoxError>(Response::new(String::new()))
    /// });
    /// // error: the body `BoxBody<Bytes, ..>` cannot be sent again: put a `ReplayLayer` outside the retry
    /// serve(RetryLayer::http().layer(client));
    /// ```
    ///
    /// The body of a response that is not the last is read during the wait, up to 64 KiB, so that
    /// the connection can be used again ([RFC 9112, 9.3]).
    ///
    /// [RFC 6585, 4]: https://www.rfc-editor.org/rfc/rfc6585.html#section-4
    /// [RFC 8470, 5.2]: https://www.rfc-editor.org/rfc/rfc8470.html#section-5.2
    /// [RFC 9110, 9.2.2]: https://www.rfc-editor.org/rfc/rfc9110.html#section-9.2.2
    /// [RFC 9110, 15.5.9]: https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5.9
    /// [RFC 9110, 15.6.3]: https://www.rfc-editor.org/rfc/rfc9110.html#section-15.6.3
    /// [RFC 9112, 9.3]: https://www.rfc-editor.org/rfc/rfc9112.html#section-9.3
    #[must_use]
    pub fn http() -> RetryLayer<HttpPolicy, HttpHooks> {
        let mut settings = Self::for_clients().settings;
        let budget = settings.budget.take().unwrap_or_default();
        let hooks = HookSet {
            keep_request: KeepBody::new(),
            choose_budget: BudgetByAuthority::new(budget),
            on_give_up: KeepOutcome,
            choose_retries: LayerRetries,
            before_attempt: Unchanged,
            discard_outcome: DrainBody,
        };
        RetryLayer {
            settings,
            policy: HttpPolicy::new(),
            hooks,
        }
    }
}

/// Only for HTTP: which failures are retried.
impl<M, X> RetryLayer<HttpPolicy<M>, X> {
    /// Retries this status too, such as 500, if the request may be repeated. It changes nothing for
    /// the circuit.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_keep::RetryLayer;
    ///
    /// let retry = RetryLayer::http().retry_status(StatusCode::INTERNAL_SERVER_ERROR);
    /// # let _ = retry;
    /// ```
    #[must_use]
    pub fn retry_status(self, status: StatusCode) -> Self {
        self.with_policy(|mut policy| {
            policy.statuses.push(status);
            policy
        })
    }

    /// Repeats requests of every method, also POST. Use it if each request to this service may be
    /// executed twice, such as for a gRPC service that only reads.
    #[must_use]
    pub fn retry_every_method(self) -> Self {
        self.with_policy(|mut policy| {
            policy.every_method = true;
            policy
        })
    }

    /// Reads hints about when to come back in another way, before the [standard
    /// ones](crate::http::StandardHints).
    ///
    /// If `hints` returns a hint for a status from 400 on, the retry repeats the request, if it may
    /// be repeated. The status plays no part then. The hint counts even if a standard header asks
    /// for a longer wait. It changes nothing for the circuit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{HeaderMap, StatusCode};
    /// use tower_keep::{RetryLayer, http::Hint};
    ///
    /// let retry = RetryLayer::http().hints(|status: StatusCode, headers: &HeaderMap| {
    ///     let seconds = headers.get("x-retry-in")?.to_str().ok()?.parse().ok()?;
    ///     (status == StatusCode::FORBIDDEN).then_some(Hint::Wait(Duration::from_secs(seconds)))
    /// });
    /// # let _ = retry;
    /// ```
    #[must_use]
    pub fn hints(self, hints: impl RetryHint + Send + Sync + 'static) -> Self {
        self.with_policy(|mut policy| {
            policy.hints = Some(Arc::new(hints));
            policy
        })
    }

    /// Chooses which requests may be repeated. `None` leaves the choice to the request: its
    /// extension, its method, its `Idempotency-Key`.
    ///
    /// ```
    /// use http::Request;
    /// use tower_keep::{RepeatRequest, RetryLayer};
    ///
    /// let retry = RetryLayer::http().repeat_by(|request: &Request<String>| match request.uri().path() {
    ///     "/search" => Some(RepeatRequest::Allowed),
    ///     "/lottery" => Some(RepeatRequest::Forbidden),
    ///     _ => None,
    /// });
    /// # let _ = retry;
    /// ```
    #[must_use]
    pub fn repeat_by<F, Request>(self, choose: F) -> RetryLayer<HttpPolicy<RepeatBy<F>>, X>
    where
        F: Fn(&Request) -> Option<RepeatRequest>,
        RepeatBy<F>: ChooseRepeat<Request>,
    {
        self.with_policy(|policy| HttpPolicy {
            statuses: policy.statuses,
            hints: policy.hints,
            every_method: policy.every_method,
            repeat_by: RepeatBy(ForRequest(choose)),
        })
    }
}

/// Only for HTTP: bodies and budgets.
impl<P, H, B, N, A, D> RetryLayer<P, HookSet<KeepBody, H, B, N, A, D>> {
    /// The longest request body that is kept for another attempt, in bytes. Default: 64 KiB.
    ///
    /// A longer body is sent once: the retry gives up with the reason
    /// [`NotRepeatable`](crate::GiveUpReason::NotRepeatable).
    #[must_use]
    pub fn max_body(self, bytes: usize) -> Self {
        self.with_hooks(|hooks| hooks.keep_request(KeepBody { max: bytes }))
    }

    /// Gives each server a budget with the settings of this one. Default: 20 %, at least 30 retries
    /// in 10 s.
    ///
    /// A new [`RetryBudget`] has a floor of only 3 retries. Set the [floor](RetryBudget::floor)
    /// too:
    ///
    /// ```
    /// use tower_keep::{Ratio, RetryLayer, retry::RetryBudget};
    ///
    /// let budget = RetryBudget::new(Ratio::percent(10)?).floor(30);
    /// let retry = RetryLayer::http().budget_per_authority(budget);
    /// # let _ = retry;
    /// # Ok::<(), tower_keep::InvalidRatio>(())
    /// ```
    #[must_use]
    pub fn budget_per_authority(
        self,
        template: RetryBudget,
    ) -> RetryLayer<P, HookSet<KeepBody, H, BudgetByAuthority, N, A, D>> {
        self.with_hooks(|hooks| hooks.choose_budget(BudgetByAuthority::new(template)))
    }

    /// Sends the number of earlier attempts in this header, in each attempt but the first. Default:
    /// no header.
    ///
    /// gRPC calls it `grpc-previous-rpc-attempts`.
    ///
    /// It takes the place of [`before_attempt`](Self::before_attempt): the last of the two setters
    /// counts.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_keep::RetryLayer;
    ///
    /// let header = HeaderName::from_static("grpc-previous-rpc-attempts");
    /// let retry = RetryLayer::http().retry_every_method().attempt_header(header);
    /// # let _ = retry;
    /// ```
    #[must_use]
    #[allow(clippy::type_complexity, reason = "it replaces one of six hooks")]
    pub fn attempt_header(
        self,
        header: HeaderName,
    ) -> RetryLayer<P, HookSet<KeepBody, H, B, N, ChangeWith<AttemptHeader>, D>> {
        self.with_hooks(|hooks| hooks.before_attempt(ChangeWith(ForRequest(AttemptHeader(header)))))
    }
}

/// A budget for each server. Made by [`RetryLayer::http`](crate::RetryLayer::http).
#[derive(Clone, Debug)]
pub struct BudgetByAuthority(RetryBudgets<Authority>);

impl BudgetByAuthority {
    fn new(template: RetryBudget) -> Self {
        Self(RetryBudgets::new(template))
    }
}

impl SealedBudget for BudgetByAuthority {}

impl<Request: HttpRequest> ChooseBudget<Request> for BudgetByAuthority {
    const YIELDS: bool = true;

    fn choose(&self, request: &Request) -> Option<RetryBudget> {
        let authority = request.authority().unwrap_or(Authority::UNKNOWN);
        Some(self.0.get(&authority))
    }
}

/// Sends the number of earlier attempts. Made by
/// [`RetryLayer::attempt_header`](crate::RetryLayer::attempt_header).
#[derive(Clone, Debug)]
pub struct AttemptHeader(HeaderName);

impl<Request: HttpRequest> ChangeRequest<Request> for AttemptHeader {
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>) {
        let earlier = attempt.number() - 1;
        if earlier > 0 {
            let earlier = HeaderValue::from(earlier);
            request.headers_mut().insert(self.0.clone(), earlier);
        }
    }
}
