//! `ReplayLayer`: the cap.

use tower_layer::Layer;

use super::service::Replay;

/// The default cap in bytes, which is also that of a retry without this layer.
pub(super) const DEFAULT_MAX: usize = 64 * 1024;

/// Makes the body of each request repeatable up to 64 KiB: `http::Request<B>` becomes
/// `http::Request<ReplayBody<B>>`. Place it outside Retry.
///
/// See the [module](super) for an example, and for bodies above the cap.
#[derive(Clone, Copy, Debug)]
pub struct ReplayLayer {
    max_body: usize,
}

impl ReplayLayer {
    /// Keeps up to 64 KiB of each body.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_body: DEFAULT_MAX,
        }
    }

    /// The cap in bytes. Default: 64 KiB. A larger body is sent once.
    ///
    /// Up to this much memory is in use for each request in flight. With 0, only requests without
    /// data are repeatable.
    #[must_use]
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }
}

impl Default for ReplayLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ReplayLayer {
    type Service = Replay<S>;

    fn layer(&self, inner: S) -> Replay<S> {
        Replay::new(inner, self.max_body)
    }
}
