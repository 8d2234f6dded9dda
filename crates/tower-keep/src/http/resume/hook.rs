//! `ResumeBody`: the hook of a retry that resumes response bodies.

use std::{fmt, sync::Arc};

use http::Method;
use tower_service::Service;

use super::{
    call::{IntoBody, ResumeRequest, ResumeResponse},
    representation::Representation,
};
use crate::{
    error::BoxError,
    http::{HttpResponse, body::JobGuard, drain::DrainBody},
    job::verdict,
    retry::{
        Policy,
        hook::{Answered, DiscardOutcome, Hooks, Respond, ResumableCall, SealedDiscard},
    },
};

/// Resumes the body of the last response. Discards other responses as [`DrainBody`] does. Made by
/// [`RetryLayer::resume`](crate::RetryLayer::resume).
#[derive(Clone, Copy, Debug, Default)]
pub struct ResumeBody;

impl SealedDiscard for ResumeBody {}

#[diagnostic::do_not_recommend]
impl<Response> DiscardOutcome<Response> for ResumeBody
where
    DrainBody: DiscardOutcome<Response>,
{
    type Drain = <DrainBody as DiscardOutcome<Response>>::Drain;

    const DRAINS: bool = true;
    const RESUMES: bool = true;

    fn discard(&self, response: Response) -> Option<Self::Drain> {
        DrainBody.discard(response)
    }
}

#[diagnostic::do_not_recommend]
impl<S, Request, P, X> Respond<S, Request, P, X> for ResumeBody
where
    S: Service<Request> + Clone,
    S::Response: ResumeResponse<ResumableCall<S, Request, P, X>>,
    S::Error: Into<BoxError> + fmt::Display,
    Request: ResumeRequest,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    type Response = <S::Response as ResumeResponse<ResumableCall<S, Request, P, X>>>::Resumed;

    fn is_bodiless(&self, request: &Request) -> bool {
        request.method() == Method::HEAD
    }

    fn respond(
        &self,
        response: S::Response,
        mut call: Answered<'_, S, Request, P, X>,
    ) -> Self::Response {
        // Nothing of the server's follows a response that a layer made.
        let verdict = verdict::read();
        let is_over =
            call.membership.is_bodiless() || verdict.is_some_and(|verdict| verdict.made_response());
        let representation = (!is_over && verdict.is_none())
            .then(|| {
                let length = response.exact_length();
                Representation::of(response.status(), response.headers(), length)
            })
            .flatten()
            .map(|representation| representation.at(response.final_url().map(Box::from)));
        let resumption =
            representation.and_then(|representation| Some((representation, call.resumable()?)));
        if resumption.is_none() {
            call.end_attempt();
        }
        let reading = call.membership.follow();
        let job = reading.with_job(Arc::clone);
        let resumption =
            resumption.map(|(representation, call)| (representation, call.in_job(job)));
        response.resumed(resumption, JobGuard::new(reading), is_over)
    }
}
