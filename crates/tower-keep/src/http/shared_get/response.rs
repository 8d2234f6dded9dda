//! `ShareResponse`: the responses that can be shared.

use http::response::Parts;
use http_body::Body;

use super::body::GetBody;
use crate::{error::BoxError, http::HttpResponse};

/// A response that several callers can share: an [`http::Response`] with a body that is `Unpin` and
/// `Send`, or reqwest's `Response` with the feature `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP response that can be shared",
    label = "the body of an `http::Response` has to implement `http_body::Body + Send + Unpin`",
    note = "its errors have to be `Into<tower_keep::BoxError>`"
)]
#[allow(unreachable_pub, reason = "it is in a public trait impl")]
pub trait ShareResponse: HttpResponse + Sized + 'static {
    /// The body.
    type Body: Body<Error: Into<BoxError>> + Send + Unpin + 'static;
    /// The response of a caller.
    type Given: Send + 'static;

    /// The least number of bytes of the body.
    fn least_length(&self) -> u64;

    /// Takes the response apart, to read its body.
    fn split(self) -> (Parts, Self::Body);

    /// The reverse.
    fn given(head: Parts, body: GetBody<Self::Body>) -> Self::Given;

    /// The response as it is.
    fn pass(self) -> Self::Given;
}

#[diagnostic::do_not_recommend]
impl<B> ShareResponse for http::Response<B>
where
    B: Body + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Body = B;
    type Given = http::Response<GetBody<B>>;

    fn least_length(&self) -> u64 {
        self.body().size_hint().lower()
    }

    fn split(self) -> (Parts, B) {
        self.into_parts()
    }

    fn given(head: Parts, body: GetBody<B>) -> Self::Given {
        http::Response::from_parts(head, body)
    }

    fn pass(self) -> Self::Given {
        self.map(GetBody::of)
    }
}

#[cfg(feature = "reqwest-0-13")]
#[diagnostic::do_not_recommend]
impl ShareResponse for reqwest::Response {
    type Body = reqwest::Body;
    type Given = Self;

    fn least_length(&self) -> u64 {
        self.content_length().unwrap_or_default()
    }

    fn split(self) -> (Parts, reqwest::Body) {
        use reqwest::ResponseBuilderExt;

        // The conversion loses the URL. It travels back in an extension of a private type.
        let with_url = http::Response::builder()
            .url(self.url().clone())
            .body(())
            .ok();
        let (mut head, body) = http::Response::<reqwest::Body>::from(self).into_parts();
        if let Some(with_url) = with_url {
            head.extensions.extend(with_url.into_parts().0.extensions);
        }
        (head, body)
    }

    fn given(head: Parts, body: GetBody<reqwest::Body>) -> Self {
        let body = reqwest::Body::wrap(body);
        Self::from(http::Response::from_parts(head, body))
    }

    fn pass(self) -> Self {
        self
    }
}
