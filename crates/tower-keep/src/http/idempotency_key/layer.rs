//! `IdempotencyKeyLayer` and its settings: header, form and source of the key.

use http::{HeaderName, HeaderValue};
use tower_layer::Layer;

use super::{
    key::{IdempotencyKey, KeySource, KeyWith, RandomKey},
    service::IdempotencyKeys,
};

/// Sets the header `Idempotency-Key` once per call, on requests whose method is neither safe nor
/// idempotent. Place it outside Retry.
///
/// See the [module](super) for an example, and for what the server must do.
#[derive(Clone, Debug)]
pub struct IdempotencyKeyLayer<K = RandomKey> {
    pub(super) header: HeaderName,
    is_bare: bool,
    pub(super) key: K,
}

impl IdempotencyKeyLayer {
    /// A random key for each call, in quotes, in the header `Idempotency-Key`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: HeaderName::from_static("idempotency-key"),
            is_bare: false,
            key: RandomKey,
        }
    }
}

impl Default for IdempotencyKeyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> IdempotencyKeyLayer<K> {
    /// Another name of the header. Default: `Idempotency-Key`.
    ///
    /// [`RetryLayer::http`](crate::RetryLayer::http) knows only the default. Allow the requests with
    /// another one by [`repeat_by`](crate::RetryLayer::repeat_by).
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.header = name;
        self
    }

    /// Sends the key without quotes, as some services require. Default: in quotes.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// Computes the key from the request. Default: a random key. With `None`, the request gets no
    /// key, and is not repeatable.
    ///
    /// The closure runs once per call, and only for a request that needs a key.
    ///
    /// ```
    /// use http::Request;
    /// use tower_keep::{IdempotencyKeyLayer, http::idempotency_key::IdempotencyKey};
    ///
    /// #[derive(Clone)]
    /// struct Order(u64);
    ///
    /// let layer = IdempotencyKeyLayer::new().key_with(|request: &Request<String>| {
    ///     let order = request.extensions().get::<Order>()?;
    ///     IdempotencyKey::try_from(format!("order-{}", order.0)).ok()
    /// });
    /// ```
    #[must_use]
    pub fn key_with<F, Request>(self, key: F) -> IdempotencyKeyLayer<KeyWith<F>>
    where
        F: Fn(&Request) -> Option<IdempotencyKey>,
        KeyWith<F>: KeySource<Request>,
    {
        IdempotencyKeyLayer {
            header: self.header,
            is_bare: self.is_bare,
            key: KeyWith(key),
        }
    }

    pub(super) fn value(&self, key: IdempotencyKey) -> HeaderValue {
        match self.is_bare {
            true => key.bare(),
            false => key.quoted(),
        }
    }
}

impl<S, K: Clone> Layer<S> for IdempotencyKeyLayer<K> {
    type Service = IdempotencyKeys<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyKeys::new(inner, self.clone())
    }
}
