//! The common error type, and finding a layer's reason in an error.

use std::{
    any::Any,
    error::Error,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The error of a layer that can stop a call, unless it is told otherwise: tower's own convention.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The first `T` in the error's chain of sources, the error itself included, and also what an
/// `io::Error` in the chain was made of.
///
/// ```
/// use tower_keep::{BoxError, find, job::Cancelled};
///
/// fn cancelled(error: &BoxError) -> bool {
///     find::<Cancelled>(&**error).is_some()
/// }
/// # assert!(!cancelled(&"other".into()));
/// ```
#[must_use]
pub fn find<'a, T>(error: &'a (dyn Error + 'static)) -> Option<&'a T>
where
    T: Error + 'static,
{
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = cause_of(error);
    }
    None
}

/// The next error in the chain of sources. An `io::Error` skips the error that it wraps, as it says
/// the same, so that it is asked for it.
pub(crate) fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// What a panic said; `None` if it was not a text.
pub(crate) fn panic_message<Text: for<'a> From<&'a str>>(
    panic: Box<dyn Any + Send>,
) -> Option<Text> {
    let message = panic_text(&*panic).map(Into::into);
    discard(panic);
    message
}

/// As [`panic_message`], of a panic that goes on.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

/// Drops what is the user's, in whose own `Drop` may be a panic too.
pub(crate) fn discard(value: impl Sized) {
    unharmed(|| drop(value));
}

/// Runs what is the user's, whose panic must not keep what comes after it from its turn.
pub(crate) fn unharmed(run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        // Its own `Drop` may panic.
        std::mem::forget(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("leaf")]
    struct Leaf;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] BoxError);

    #[test]
    fn finds_at_any_depth() {
        let error = Outer(Box::new(Outer(Box::new(Leaf))));
        assert!(find::<Leaf>(&error).is_some());
        assert!(find::<Outer>(&error).is_some());
        assert!(find::<std::io::Error>(&error).is_none());
    }
}
