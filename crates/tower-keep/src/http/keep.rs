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

    fn fits(self, bytes: u64) -> bool {
        u64::try_from(self.max).is_ok_and(|max| bytes <= max)
    }
}

impl SealedKeep for KeepBody {}

impl<B: Body + Clone> KeepRequest<Request<B>> for KeepBody {
    // Boxed, as the future of each layer outside moves it.
    type Kept = Box<Request<B>>;

    fn keep(&self, request: &mut Request<B>) -> Option<Box<Request<B>>> {
        let is_recorded = request.extensions().get::<BodyReplay>().is_some();
        (is_recorded || self.fits(request.body().size_hint().lower()))
            .then(|| Box::new(request.clone()))
    }

    fn again(&self, kept: Box<Request<B>>, is_last: bool) -> (Request<B>, Option<Box<Request<B>>>) {
        let next = (!is_last).then(|| kept.clone());
        (*kept, next)
    }

    fn can_repeat(&self, kept: &Box<Request<B>>) -> bool {
        let recorded = kept.extensions().get::<BodyReplay>();
        recorded.is_none_or(BodyReplay::is_replayable)
    }
}

#[cfg(feature = "reqwest-0-13")]
mod of_reqwest {
    use reqwest::{Body, Request};

    use super::{super::replay::ReplayBody, KeepBody, KeepRequest};

    /// A kept request of reqwest.
    #[derive(Debug)]
    pub struct Kept {
        /// Without its body, if that is recorded.
        request: Request,
        recorded: Option<ReplayBody<Body>>,
    }

    impl KeepRequest<Request> for KeepBody {
        type Kept = Box<Kept>;

        fn keep(&self, request: &mut Request) -> Option<Box<Kept>> {
            let known = match request.body() {
                None => Some(0),
                Some(body) => body.as_bytes().map(<[u8]>::len),
            };
            if let Some(bytes) = known {
                return match bytes <= self.max {
                    true => Some(Box::new(Kept {
                        request: request.try_clone()?,
                        recorded: None,
                    })),
                    false => None,
                };
            }
            // A stream: it is recorded while it is sent.
            let body = ReplayBody::new(request.body_mut().take()?, self.max);
            let kept = request.try_clone().map(|request| {
                Box::new(Kept {
                    request,
                    recorded: Some(body.clone()),
                })
            });
            *request.body_mut() = Some(Body::wrap(body));
            kept
        }

        fn again(&self, kept: Box<Kept>, is_last: bool) -> (Request, Option<Box<Kept>>) {
            let kept = *kept;
            let next = match is_last {
                true => None,
                false => kept.request.try_clone().map(|request| {
                    Box::new(Kept {
                        request,
                        recorded: kept.recorded.clone(),
                    })
                }),
            };
            let mut request = kept.request;
            if let Some(body) = kept.recorded {
                *request.body_mut() = Some(Body::wrap(body));
            }
            (request, next)
        }

        fn can_repeat(&self, kept: &Box<Kept>) -> bool {
            (kept.recorded.as_ref()).is_none_or(ReplayBody::is_replayable)
        }
    }
}
