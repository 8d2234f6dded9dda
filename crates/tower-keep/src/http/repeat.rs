//! `RepeatRequest`: the choice of one request whether it may be repeated.

/// Whether this request may be repeated: an extension of an [`http::Request`], for
/// [`RetryLayer::http`](crate::RetryLayer::http).
///
/// It overrules the method of the request and an `Idempotency-Key`. reqwest hides the extensions of
/// its requests: use [`repeat_by`](crate::RetryLayer::repeat_by) there.
///
/// ```
/// use tower_keep::RepeatRequest;
///
/// // This search changes nothing on the server, although it is a POST.
/// let search = http::Request::post("https://api.example.com/search")
///     .extension(RepeatRequest::Allowed)
///     .body("{}")?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepeatRequest {
    /// As if its method were idempotent.
    Allowed,
    /// One attempt only, whatever happens.
    Forbidden,
}
