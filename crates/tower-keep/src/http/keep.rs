//! `KeepBody`: keeps requests whose body is short enough for another attempt.

use http::Request;
use http_body::Body;

use super::replay::BodyReplay;
use crate::retry::hook::{KeepRequest, SealedKeep};

/// Keeps requests whose body is short enough. Made by [`RetryLayer::http`](crate::RetryLayer::http).
#[derive(Clone, Copy, Debug)]
pub struct KeepBody {
    /// In bytes.
    pub(super) max: usize,
}

impl KeepBody {
    pub(super) const fn new() -> Self {
        Self { max: 64 * 1024 }
    }
}

impl SealedKeep for KeepBody {}

impl<R: RepeatHttp> KeepRequest<R> for KeepBody {
    // Boxed, as it moves with the futures of all layers outside.
    type Kept = Box<R::Kept>;

    #[inline]
    fn keep(&self, request: &mut R) -> Option<Self::Kept> {
        request.keep(self.max).map(Box::new)
    }

    #[inline]
    fn again(&self, kept: Self::Kept, is_last: bool) -> (R, Option<Self::Kept>) {
        let (request, next) = R::again(*kept, is_last);
        (request, next.map(Box::new))
    }

    #[inline]
    fn can_repeat(&self, kept: &Self::Kept) -> bool {
        R::can_repeat(kept)
    }

    #[inline]
    fn claim(&self, kept: &Self::Kept) {
        R::claim(kept);
    }
}

/// A request that [`KeepBody`] keeps. It is a trait with an impl for each kind of request, so that
/// the compiler looks at the impl that could fit, and names the bound that it lacks.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP request that a retry can repeat",
    label = "not an HTTP request",
    note = "`http::Request` is one, and with the feature `reqwest-0-13` also `reqwest::Request`"
)]
#[allow(unreachable_pub, reason = "it is in a public trait impl")]
pub trait RepeatHttp: Sized {
    type Kept;

    /// `max` is in bytes.
    fn keep(&mut self, max: usize) -> Option<Self::Kept>;

    fn again(kept: Self::Kept, is_last: bool) -> (Self, Option<Self::Kept>);

    fn can_repeat(kept: &Self::Kept) -> bool;

    fn claim(kept: &Self::Kept);
}

/// A body that can be sent again.
#[diagnostic::on_unimplemented(
    message = "the body `{Self}` cannot be sent again: put a `ReplayLayer` outside the retry",
    label = "a retry has to send `{Self}` again",
    note = "a body that is `Clone`, such as `Full<Bytes>`, needs no `ReplayLayer`; each body has to \
            implement `http_body::Body`"
)]
#[allow(unreachable_pub, reason = "it is in a public trait impl")]
pub trait CloneBody: Body + Clone {}

#[diagnostic::do_not_recommend]
impl<B: Body + Clone> CloneBody for B {}

impl<B: CloneBody> RepeatHttp for Request<B> {
    type Kept = Self;

    fn keep(&mut self, max: usize) -> Option<Self> {
        let is_recorded = self.extensions().get::<BodyReplay>().is_some();
        let least = self.body().size_hint().lower();
        let fits = u64::try_from(max).is_ok_and(|max| least <= max);
        (is_recorded || fits).then(|| self.clone())
    }

    fn again(kept: Self, is_last: bool) -> (Self, Option<Self>) {
        let next = (!is_last).then(|| kept.clone());
        (kept, next)
    }

    fn can_repeat(kept: &Self) -> bool {
        let recorded = kept.extensions().get::<BodyReplay>();
        recorded.is_none_or(BodyReplay::is_replayable)
    }

    fn claim(kept: &Self) {
        if let Some(recorded) = kept.extensions().get::<BodyReplay>() {
            recorded.claim();
        }
    }
}

#[cfg(feature = "reqwest-0-13")]
mod of_reqwest {
    use reqwest::{Body, Request};

    #[cfg(feature = "progress")]
    use super::super::upload::{UploadBody, UploadCount};
    use super::{super::replay::ReplayBody, RepeatHttp};

    /// A kept request of reqwest.
    #[derive(Debug)]
    pub struct Kept {
        /// Without its body, if that is recorded.
        request: Request,
        recorded: Option<ReplayBody<Body>>,
        #[cfg(feature = "progress")]
        count: UploadCount,
    }

    impl Kept {
        fn new(request: Request, recorded: Option<ReplayBody<Body>>) -> Self {
            Self {
                #[cfg(feature = "progress")]
                count: match &recorded {
                    // Its record is sent without the outer layer that counts the first attempt.
                    Some(_) => UploadCount::of_attempt(request.headers()),
                    None => UploadCount::none(),
                },
                request,
                recorded,
            }
        }

        fn again(&self) -> Option<Self> {
            Some(Self {
                request: self.request.try_clone()?,
                recorded: self.recorded.clone(),
                #[cfg(feature = "progress")]
                count: self.count.again(),
            })
        }

        fn into_request(self) -> Request {
            let mut request = self.request;
            if let Some(body) = self.recorded {
                *request.body_mut() = Some(match () {
                    #[cfg(feature = "progress")]
                    () if self.count.is_some() => Body::wrap(UploadBody::new(body, self.count)),
                    () => Body::wrap(body),
                });
            }
            request
        }
    }

    impl RepeatHttp for Request {
        type Kept = Kept;

        fn keep(&mut self, max: usize) -> Option<Kept> {
            let known = match self.body() {
                None => Some(0),
                Some(body) => body.as_bytes().map(<[u8]>::len),
            };
            if let Some(bytes) = known {
                return match bytes <= max {
                    true => Some(Kept::new(self.try_clone()?, None)),
                    false => None,
                };
            }
            // A stream: it is recorded while it is sent.
            let body = ReplayBody::new(self.body_mut().take()?, max);
            let kept = self.try_clone();
            let kept = kept.map(|request| Kept::new(request, Some(body.clone())));
            *self.body_mut() = Some(Body::wrap(body));
            kept
        }

        fn again(kept: Kept, is_last: bool) -> (Self, Option<Kept>) {
            let next = match is_last {
                true => None,
                false => kept.again(),
            };
            (kept.into_request(), next)
        }

        fn can_repeat(kept: &Kept) -> bool {
            (kept.recorded.as_ref()).is_none_or(ReplayBody::is_replayable)
        }

        fn claim(kept: &Kept) {
            if let Some(recorded) = &kept.recorded {
                recorded.claim();
            }
        }
    }
}
