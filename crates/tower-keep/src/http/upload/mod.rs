//! The progress of request bodies: [`UploadBody`].

mod body;
mod count;
mod layer;
#[cfg(feature = "reqwest-0-13")]
mod of_reqwest;
mod service;

use http_body::Body;

#[cfg(feature = "reqwest-0-13")]
pub(super) use self::of_reqwest::count_reqwest;
#[cfg(all(feature = "reqwest-0-13", feature = "retry"))]
pub(super) use self::count::UploadCount;
pub use self::{body::UploadBody, layer::TransferCount, service::CountUploads};

/// Whether a body has nothing to send.
fn is_empty<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}
