//! `RangeRequests`: the policy of a `ResumeLayer`, which repeats only range requests.

use std::borrow::Cow;

use crate::{
    http::{
        HttpRequest, HttpResponse,
        classify::describe,
        policy::{HttpPolicy, Repeatable},
    },
    retry::{Attempt, Decision, Policy},
};

/// Repeats range requests, as [`RetryLayer::http`](crate::RetryLayer::http) repeats a GET, and no
/// other request. Made by [`ResumeLayer`](crate::ResumeLayer).
#[derive(Clone, Debug)]
pub struct RangeRequests(pub(super) HttpPolicy);

impl<Request, Response, Error> Policy<Request, Response, Error> for RangeRequests
where
    Request: HttpRequest,
    Response: HttpResponse,
    Error: 'static,
{
    /// `None`: not a range request of a resumption.
    type Seen = Option<Repeatable>;

    fn see(&self, _: &Request) -> Self::Seen {
        None
    }

    fn see_resumption(&self, request: &Request) -> Option<Self::Seen> {
        Policy::<Request, Response, Error>::see_resumption(&self.0, request).map(Some)
    }

    fn decide(
        &self,
        repeatable: &Self::Seen,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision {
        match repeatable {
            None => Decision::Stop,
            Some(repeatable) => {
                Policy::<Request, _, _>::decide(&self.0, repeatable, result, attempt)
            }
        }
    }

    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        describe(result)
    }
}
