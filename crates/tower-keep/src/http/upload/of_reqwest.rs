//! The request bodies of reqwest: they keep their type.

use reqwest::{Body, Request};

use super::{body::UploadBody, count::UploadCount};

/// A body of at most this many bytes is handed to the transport at once, and stays as it is.
const SMALL: usize = 64 * 1024;

/// Makes the bytes of this request's body the progress of the job that is being called.
#[inline]
pub(in crate::http) fn count_reqwest(mut request: Request) -> Request {
    if let Some(body) = request.body_mut().take() {
        let is_small = body.as_bytes().is_some_and(|bytes| bytes.len() <= SMALL);
        *request.body_mut() = Some(match is_small || super::is_empty(&body) {
            true => body,
            false => {
                let count = UploadCount::of_call(request.headers());
                Body::wrap(UploadBody::new(body, count))
            }
        });
    }
    request
}
