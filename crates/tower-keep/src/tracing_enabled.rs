//! Whether tracing is enabled: an event that nobody hears is not built.

/// Whether tracing may have a listener at this moment: a subscriber, or the `log` crate, to which
/// tracing forwards with its feature `log`. Two loads; it is not to be remembered.
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
