//! `CircuitBreakerLayer::http`: one circuit for each server.

use super::{
    authority::Authority,
    body::{AtBodyEnd, CircuitGuard, FollowResponse, follow},
    classify::ServerFailures,
    message::HttpRequest,
};
use crate::{
    circuit_breaker::{
        CircuitBreakerLayer,
        call_end::{FinishCall, Head},
        per_key::PerKey,
    },
    for_request::AskRequest,
    job::call_end::Call,
};

/// Gives each server its own circuit. Made by
/// [`CircuitBreakerLayer::http`](crate::CircuitBreakerLayer::http).
#[derive(Clone, Copy, Debug, Default)]
pub struct ByAuthority;

impl<Request: HttpRequest> AskRequest<Request, Authority> for ByAuthority {
    fn ask(&self, request: &Request) -> Authority {
        request.authority().unwrap_or(Authority::UNKNOWN)
    }
}

impl<T: FollowResponse<CircuitGuard>> FinishCall<T> for AtBodyEnd {
    type Response = T::Followed;

    const GOES_ON: bool = true;

    fn finish<E>(result: Result<T, E>, head: Head<'_>) -> Result<T::Followed, E> {
        let Head { membership, late } = head;
        result.map(|response| {
            let guard = |reading| CircuitGuard::new(reading, late);
            follow(response, Call(membership), guard)
        })
    }
}

impl CircuitBreakerLayer {
    /// For HTTP clients: one circuit for each server, by host and port.
    ///
    /// By default a circuit opens at the 6th failure in a row, for 30 s. Outside the retry, as in
    /// [`Pipeline::http_client`](crate::http#a-client-in-two-lines), a failure is a job that failed
    /// after all its attempts.
    ///
    /// | result | counts as |
    /// |---|---|
    /// | 5xx, except 501 and 505 | failure |
    /// | an error: connect, time limit, reset, truncated body | failure |
    /// | 429, as it says only that this client is too fast | ignored |
    /// | an invalid request, too many redirects, a request body that fails | ignored |
    /// | any other status | success |
    /// | gRPC `cancelled`, `unknown`, `deadline exceeded`, `internal`, `unavailable`, `data loss` | failure |
    /// | gRPC `resource exhausted` | ignored |
    ///
    /// The response head decides: it ends a probe and the time of a slow call. The layer then
    /// follows the body, which can be [one more failure](crate::circuit_breaker#response-bodies): also
    /// by a gRPC status in its trailers.
    ///
    /// If the failure that opens the circuit says when to come back, as `Retry-After` does, this is
    /// the cooldown, up to [`max_cooldown`](Self::max_cooldown).
    ///
    /// The error of the inner service must be a [`BoxError`](crate::BoxError) or the client's own
    /// type. The circuit cannot look into any other type, and counts it as a failure. Nor does it know
    /// the errors of other crates' layers: place a limit such as tower's `LoadShed` outside.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, Response, StatusCode};
    /// use tower::{Layer, Service, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, CircuitBreakerLayer, Rejection, circuit_breaker::State};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let breaker = CircuitBreakerLayer::http().failure_threshold(1);
    /// let circuits = breaker.handle();
    /// let mut client = breaker.layer(service_fn(|request: Request<String>| async move {
    ///     let mut response = Response::new(String::new());
    ///     if request.uri().host() == Some("down.example") {
    ///         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    ///         response.headers_mut().insert("retry-after", 120.into());
    ///     }
    ///     Ok::<_, BoxError>(response)
    /// }));
    /// let mut get = async |url: &str| {
    ///     client.ready().await?.call(Request::get(url).body(String::new())?).await
    /// };
    /// get("https://down.example/").await.unwrap();
    /// get("https://down.example/").await.unwrap();
    /// let error = get("https://down.example/").await.unwrap_err();
    /// assert_eq!(Rejection::of(&*error), Some(Rejection::CircuitOpen));
    /// get("https://up.example/").await.unwrap();
    ///
    /// let circuit = circuits.get(&"down.example".parse()?).unwrap();
    /// assert_eq!(circuit.state(), State::Open);
    /// assert_eq!(circuit.snapshot().time_until_probe, Some(Duration::from_secs(120)));
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn http() -> CircuitBreakerLayer<ServerFailures, PerKey<ByAuthority, Authority, AtBodyEnd>>
    {
        Self::new()
            .keyed_by(ByAuthority)
            .with_classify(|_| ServerFailures)
    }
}
