//! The request bodies of reqwest: they keep their type.

use reqwest::{Body, Request};

use super::{body::UploadBody, count::UploadCount};

/// A body of at most this many bytes is handed to the transport at once, and stays as it is.
const SMALL: usize = 64 * 1024;

/// Makes the bytes of this request's body the progress of the job that is being called.
/// `in_memory`: also if reqwest could send the body twice, which it then cannot.
#[inline]
pub(in crate::http) fn count_reqwest(mut request: Request, in_memory: bool) -> Request {
    if let Some(body) = request.body_mut().take() {
        let stays = body
            .as_bytes()
            .is_some_and(|bytes| !in_memory || bytes.len() <= SMALL);
        *request.body_mut() = Some(match stays || super::is_empty(&body) {
            true => body,
            false => {
                let count = UploadCount::of_call(request.headers());
                Body::wrap(UploadBody::new(body, count))
            }
        });
    }
    request
}
