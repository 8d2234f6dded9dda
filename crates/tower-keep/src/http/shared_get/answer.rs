//! `Answer`: what an exchange gives to its callers.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, response::Parts};

use super::{body::GetBody, response::ShareResponse};

/// What an exchange gives to its callers.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub struct Answer<G>(Arc<Kind<G>>);

enum Kind<G> {
    Shared(Box<Shared>),
    /// The first caller that is polled takes it.
    OfOne(Mutex<Option<G>>),
}

/// An answer that may serve several callers.
pub(super) struct Shared {
    pub(super) head: Parts,
    pub(super) bytes: Bytes,
    pub(super) trailers: Option<Box<HeaderMap>>,
    /// The fields by which the answer varies, with the values of the request.
    pub(super) vary: Vec<(HeaderName, Vec<HeaderValue>)>,
}

impl<G> Answer<G> {
    pub(super) fn shared(shared: Shared) -> Self {
        Self(Arc::new(Kind::Shared(Box::new(shared))))
    }

    pub(super) fn of_one(given: G) -> Self {
        Self(Arc::new(Kind::OfOne(Mutex::new(Some(given)))))
    }

    /// The response of a caller whose request has these headers, if the caller may have it.
    pub(super) fn claim<T>(self, headers: &HeaderMap) -> Option<G>
    where
        T: ShareResponse<Given = G>,
    {
        match &*self.0 {
            Kind::Shared(shared) => {
                let is_selected = (shared.vary.iter())
                    .all(|(name, values)| headers.get_all(name).iter().eq(values));
                is_selected.then(|| {
                    let body = GetBody::whole(shared.bytes.clone(), shared.trailers.clone());
                    T::given(shared.head.clone(), body)
                })
            }
            Kind::OfOne(given) => given.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

impl<G> Clone for Answer<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
