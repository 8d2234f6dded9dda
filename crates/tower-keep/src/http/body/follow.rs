//! `FollowResponse`: puts the guard of a layer into the body of a response.

use http::{HeaderMap, StatusCode, header::CONTENT_ENCODING};
use http_body::Body;

use super::{
    followed::{FollowedBody, is_at_end},
    guard::{End, Guard},
    left::Left,
};
use crate::{
    error::BoxError,
    http::{HttpResponse, content_length::content_length, status::Answer},
};

/// A response whose body a layer can follow: an [`http::Response`] with a [`Body`], or reqwest's
/// `Response` with the feature `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP response with a body that the layers can follow",
    label = "the body of an `http::Response` has to implement `http_body::Body`",
    note = "its errors have to be `Into<tower_keep::BoxError>`"
)]
pub trait FollowResponse<G: Guard>: HttpResponse {
    /// The response with the followed body.
    type Followed;

    /// Puts the guard into the body. If nothing is left to read, it ends the guard at once.
    /// `bodiless`: the response has no body, whatever its head says.
    #[doc(hidden)]
    fn follow(self, guard: G, bodiless: bool) -> Self::Followed;
}

#[diagnostic::do_not_recommend]
impl<B, G> FollowResponse<G> for http::Response<B>
where
    B: Body,
    B::Error: Into<BoxError>,
    G: Guard,
{
    type Followed = http::Response<FollowedBody<B, G>>;

    #[inline]
    fn follow(self, mut guard: G, bodiless: bool) -> Self::Followed {
        let (head, body) = self.into_parts();
        let awaits_trailers = Answer::is_in_trailers(head.status, &head.headers);
        let is_over = bodiless
            || has_no_body(head.status)
            || match awaits_trailers {
                true => body.is_end_stream(),
                false => is_at_end(&body),
            };
        let body = if is_over {
            guard.end(End::Complete(None));
            FollowedBody::new(body, None, Left::UNKNOWN)
        } else if !guard.is_needed() {
            FollowedBody::new(body, None, Left::UNKNOWN)
        } else {
            let exact = body.size_hint().exact();
            let declared = match exact {
                None => declared_length(&head.headers),
                Some(_) => None,
            };
            guard.begin(exact.or(declared));
            let left = match declared {
                _ if awaits_trailers => Left::TRAILERS,
                Some(declared) => Left::of(declared),
                // A body that knows its length says when nothing is left of it.
                None => Left::UNKNOWN,
            };
            FollowedBody::new(body, Some(guard), left)
        };
        http::Response::from_parts(head, body)
    }
}

#[cfg(feature = "reqwest-0-13")]
#[diagnostic::do_not_recommend]
impl<G> FollowResponse<G> for reqwest::Response
where
    G: Guard + Send + Sync + 'static,
{
    type Followed = Self;

    fn follow(self, guard: G, bodiless: bool) -> Self {
        let is_empty = self.content_length() == Some(0)
            && !Answer::is_in_trailers(self.status(), self.headers());
        if bodiless || has_no_body(self.status()) || is_empty {
            guard.end(End::Complete(None));
            return self;
        }
        if !guard.is_needed() {
            return self;
        }
        with_body(self, |response| {
            response.follow(guard.with_io_errors(), false)
        })
    }
}

/// Changes the body of reqwest's response, and keeps its URL.
#[cfg(feature = "reqwest-0-13")]
pub(crate) fn with_body<B>(
    response: reqwest::Response,
    change: impl FnOnce(http::Response<reqwest::Body>) -> http::Response<B>,
) -> reqwest::Response
where
    B: Body<Data = bytes::Bytes, Error = BoxError> + Send + Sync + 'static,
{
    use reqwest::ResponseBuilderExt;

    let url = response.url().clone();
    let response = change(response.into());
    // The conversion loses the URL. It travels back in an extension of a private type.
    let with_url = http::Response::builder().url(url).body(());
    let mut response = response.map(reqwest::Body::wrap);
    if let Ok(with_url) = with_url {
        response
            .extensions_mut()
            .extend(with_url.into_parts().0.extensions);
    }
    response.into()
}

/// Whether a response with this status never has a body: RFC 9110, section 6.4.1.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// The length of the body in its head. `None` if it may be the length of something else: of a
/// decoded body's encoded form.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    match headers.contains_key(CONTENT_ENCODING) {
        true => None,
        false => content_length(headers),
    }
}
