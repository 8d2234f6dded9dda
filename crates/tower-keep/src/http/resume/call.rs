//! The traits between a resumed body and its call: `Resumption`, `ResumeRequest`, `ResumeResponse`.

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use http::Method;
use http_body::Body;
use tower_service::Service;

use super::{body::ResumedBody, representation::Representation};
use crate::{
    error::BoxError,
    http::{
        HttpRequest, HttpResponse,
        body::{FollowResponse, FollowedBody, JobGuard},
    },
    retry::{
        Policy,
        hook::{Hooks, NoAttempt, ResumableCall},
    },
};

/// A call that can send its request again, for the rest of the body.
#[allow(private_interfaces, reason = "it has no public name")]
pub trait Resumption {
    /// What the service answers with.
    type Response;

    /// The body broke off: plans a range request.
    #[doc(hidden)]
    fn interrupted(
        &mut self,
        error: &BoxError,
        representation: &Representation,
    ) -> Result<(), NoAttempt>;

    /// Polls to the answer to the range request.
    #[doc(hidden)]
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Response, BoxError>>;
}

#[allow(private_interfaces, reason = "it has no public name")]
impl<S, Request, P, X> Resumption for ResumableCall<S, Request, P, X>
where
    S: Service<Request> + Clone,
    S::Response: HttpResponse,
    S::Error: Into<BoxError> + fmt::Display,
    Request: ResumeRequest,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    type Response = S::Response;

    fn interrupted(
        &mut self,
        error: &BoxError,
        representation: &Representation,
    ) -> Result<(), NoAttempt> {
        self.interrupted(error, representation.has_progressed(), |request| {
            let is_get = request.method() == Method::GET && !request.has_body();
            if is_get {
                representation.ask(request.headers_mut());
            }
            is_get
        })
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Response, BoxError>> {
        let result = ready!(self.poll(cx));
        if let Ok(response) = &result {
            self.answered(response.status());
        }
        Poll::Ready(result.map_err(Into::into))
    }
}

/// A request whose response can be resumed: [`http::Request`], or reqwest's `Request` with the
/// feature `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "a response to `{Self}` cannot be resumed",
    label = "not an HTTP request with a body",
    note = "the body of an `http::Request` has to implement `http_body::Body`"
)]
pub trait ResumeRequest: HttpRequest {
    /// Whether the request has a body.
    #[doc(hidden)]
    fn has_body(&self) -> bool;
}

#[diagnostic::do_not_recommend]
impl<B: Body> ResumeRequest for http::Request<B> {
    fn has_body(&self) -> bool {
        !self.body().is_end_stream() && self.body().size_hint().exact() != Some(0)
    }
}

#[cfg(feature = "reqwest-0-13")]
#[diagnostic::do_not_recommend]
impl ResumeRequest for reqwest::Request {
    fn has_body(&self) -> bool {
        self.body()
            .is_some_and(|body| body.as_bytes().is_none_or(|bytes| !bytes.is_empty()))
    }
}

/// The body of a response.
pub trait IntoBody: HttpResponse {
    /// Its type.
    type Body;

    /// The length that the body itself knows.
    #[doc(hidden)]
    fn exact_length(&self) -> Option<u64>;

    /// Where the response came from, after redirects: the URL without its query, which often is a
    /// signature. `None` if the client follows no redirects.
    #[doc(hidden)]
    fn final_url(&self) -> Option<&str> {
        None
    }

    #[doc(hidden)]
    fn into_body(self) -> Self::Body;
}

impl<B: Body> IntoBody for http::Response<B> {
    type Body = B;

    fn exact_length(&self) -> Option<u64> {
        self.body().size_hint().exact()
    }

    fn into_body(self) -> B {
        self.into_body()
    }
}

#[cfg(feature = "reqwest-0-13")]
impl IntoBody for reqwest::Response {
    type Body = reqwest::Body;

    fn exact_length(&self) -> Option<u64> {
        self.content_length()
    }

    fn final_url(&self) -> Option<&str> {
        self.url().as_str().split(['?', '#']).next()
    }

    fn into_body(self) -> reqwest::Body {
        self.into()
    }
}

/// A response whose body can be resumed: an [`http::Response`] with a [`Body`], or reqwest's
/// `Response` with the feature `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "the body of `{Self}` cannot be resumed",
    label = "the body of an `http::Response` has to implement `http_body::Body`",
    note = "its errors have to be `Into<tower_keep::BoxError>`; with reqwest, the service has to be \
            `Send` and `'static`"
)]
#[allow(private_interfaces, reason = "it has no public name")]
pub trait ResumeResponse<C>: IntoBody {
    /// The response with a body that is resumed.
    type Resumed;

    #[doc(hidden)]
    fn resumed(
        self,
        resumption: Option<(Representation, C)>,
        guard: JobGuard,
        bodiless: bool,
    ) -> Self::Resumed;
}

#[allow(private_interfaces, reason = "it has no public name")]
#[diagnostic::do_not_recommend]
impl<B, C> ResumeResponse<C> for http::Response<B>
where
    B: Body,
    B::Error: Into<BoxError>,
    C: Resumption<Response = Self>,
{
    type Resumed = http::Response<FollowedBody<ResumedBody<B, C>, JobGuard>>;

    fn resumed(
        self,
        resumption: Option<(Representation, C)>,
        guard: JobGuard,
        bodiless: bool,
    ) -> Self::Resumed {
        let response = self.map(|body| match resumption {
            Some((representation, call)) => ResumedBody::resumable(body, representation, call),
            None => ResumedBody::unchanged(body),
        });
        response.follow(guard, bodiless)
    }
}

#[cfg(feature = "reqwest-0-13")]
#[allow(private_interfaces, reason = "it has no public name")]
#[diagnostic::do_not_recommend]
impl<C> ResumeResponse<C> for reqwest::Response
where
    C: Resumption<Response = Self> + Send + 'static,
{
    type Resumed = Self;

    fn resumed(
        self,
        resumption: Option<(Representation, C)>,
        guard: JobGuard,
        bodiless: bool,
    ) -> Self {
        if resumption.is_none() {
            return self.follow(guard, bodiless);
        }
        crate::http::body::follow::with_body(self, |response| {
            let response = response.map(|body| match resumption {
                Some((representation, call)) => ResumedBody::resumable(body, representation, call),
                None => ResumedBody::unchanged(body),
            });
            response.follow(guard, bodiless)
        })
    }
}
