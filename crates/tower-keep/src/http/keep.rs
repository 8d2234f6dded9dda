//! `KeepBody`: keeps requests whose body is short enough for another attempt.

use http::Request;
use http_body::Body;

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
    type Kept = Request<B>;

    fn keep(&self, request: &mut Request<B>) -> Option<Request<B>> {
        self.fits(request.body().size_hint().lower())
            .then(|| request.clone())
    }

    fn again(&self, kept: Request<B>, is_last: bool) -> (Request<B>, Option<Request<B>>) {
        let next = (!is_last).then(|| kept.clone());
        (kept, next)
    }
}
