//! `ProgressLayer::uploads`: the bytes of request bodies, too.

use super::service::CountUploads;
use crate::{
    ProgressLayer,
    http::{
        HttpRequest,
        body::{ByteCount, ByteGuard, FollowResponse},
    },
    job::call_end::{AroundService, BeginsCall, Call, EndsCall, sealed::Sealed},
    unshare::Unshare,
};

/// The job of a call ends with the response body. Its progress is the bytes of the request body,
/// then those of the response body.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransferCount;

impl Sealed for TransferCount {}

impl<R: HttpRequest> BeginsCall<R> for TransferCount {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        ByteCount.is_bodiless(request)
    }

    #[inline]
    fn prepare(&self, request: R) -> R {
        request.count_upload(true)
    }
}

impl<S> AroundService<S> for TransferCount {
    type Service = CountUploads<S>;

    fn around(&self, inner: S) -> CountUploads<S> {
        CountUploads::new(inner)
    }
}

impl<T: FollowResponse<ByteGuard>> EndsCall<T> for TransferCount {
    type Response = T::Followed;

    #[inline]
    fn finish(&self, response: T, call: Call<'_>) -> T::Followed {
        ByteCount.finish(response, call)
    }
}

impl ProgressLayer<ByteCount> {
    /// Shows the bytes of all request bodies, of reqwest's only those above 64 KiB.
    ///
    /// `http::Request<B>` is sent inward as `http::Request<UploadBody<B>>`: see
    /// [`UploadBody`](crate::http::upload::UploadBody). A client with the type of its body in its
    /// own type has to name that one. reqwest's requests keep their type. A counted body in memory
    /// becomes a stream, which reqwest does not send again after a redirect.
    ///
    /// The [module](crate::http::upload) says what is reported, and when, with an example. Take
    /// handles afterwards, as with each setter.
    #[must_use]
    pub fn uploads(self) -> ProgressLayer<TransferCount> {
        self.unshared().ending(TransferCount)
    }
}
