//! `GetRequest`: the requests that can share an exchange.

use std::time::Duration;

use http_body::Body;

use super::key::Target;
use crate::http::HttpRequest;

/// A request that can share an exchange: an [`http::Request`] whose body is a `Body` and `Clone`, or
/// reqwest's `Request` with the feature `reqwest-0-13`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP request that can share an exchange",
    label = "the body of an `http::Request` has to implement `http_body::Body` and `Clone`",
    note = "a `ReplayLayer` outside makes each body `Clone`"
)]
#[allow(unreachable_pub, reason = "it is in a public trait impl")]
pub trait GetRequest: HttpRequest + Sized {
    /// The URL.
    #[allow(private_interfaces, reason = "it has no public name")]
    fn target(&self) -> Target;

    /// Whether it surely has no body.
    fn is_bodiless(&self) -> bool;

    /// The client's limit for this request alone.
    fn timeout(&self) -> Option<Duration>;

    /// A copy, to send again.
    fn copy(&self) -> Option<Self>;
}

/// The user information of an authority.
fn user(authority: &str) -> Box<str> {
    match authority.rsplit_once('@') {
        Some((user, _)) => user.into(),
        None => "".into(),
    }
}

#[diagnostic::do_not_recommend]
impl<B: Body + Clone> GetRequest for http::Request<B> {
    #[allow(private_interfaces, reason = "it has no public name")]
    fn target(&self) -> Target {
        let uri = self.uri();
        Target {
            scheme: uri.scheme().cloned(),
            authority: self.authority(),
            user: uri
                .authority()
                .map_or_else(Box::default, |authority| user(authority.as_str())),
            path: uri.path().into(),
            query: uri.query().map(Into::into),
        }
    }

    fn is_bodiless(&self) -> bool {
        let body = self.body();
        body.is_end_stream() || body.size_hint().exact() == Some(0)
    }

    fn timeout(&self) -> Option<Duration> {
        None
    }

    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }
}

#[cfg(feature = "reqwest-0-13")]
#[diagnostic::do_not_recommend]
impl GetRequest for reqwest::Request {
    #[allow(private_interfaces, reason = "it has no public name")]
    fn target(&self) -> Target {
        let url = self.url();
        Target {
            scheme: url.scheme().parse().ok(),
            authority: self.authority(),
            user: user(url.authority()),
            path: url.path().into(),
            query: url.query().map(Into::into),
        }
    }

    fn is_bodiless(&self) -> bool {
        self.body()
            .is_none_or(|body| body.as_bytes().is_some_and(<[u8]>::is_empty))
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout().copied()
    }

    fn copy(&self) -> Option<Self> {
        self.try_clone()
    }
}
