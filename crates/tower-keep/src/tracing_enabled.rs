//! Whether tracing is enabled: without a listener, events are not built.

/// Whether tracing may have a listener now: a subscriber, or the `log` crate, to which tracing
/// forwards with its feature `log`. It costs two loads. The result can change, so do not store it.
#[cfg(feature = "log")]
#[inline]
pub(crate) fn tracing_listens() -> bool {
    use tracing::level_filters::LevelFilter;

    LevelFilter::current() != LevelFilter::OFF || log::max_level() != log::LevelFilter::Off
}

#[cfg(not(feature = "log"))]
pub(crate) fn tracing_listens() -> bool {
    false
}
