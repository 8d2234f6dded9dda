//! `BoxError`, the common error type, and `find`, which gets a typed reason out of an error.

use std::{
    any::Any,
    error::Error,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The default error type of layers that can stop a call, by tower's convention.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Finds the first `T` in an error's chain of sources, including the error itself.
///
/// It also looks into the errors that an `io::Error` in the chain wraps.
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

/// The next error in the chain of sources. `io::Error::source` skips the wrapped error, so this
/// function gets it from the `io::Error`.
pub(crate) fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The message of a panic; `None` if it is not text. Drops the panic.
pub(crate) fn panic_message<Text: for<'a> From<&'a str>>(
    panic: Box<dyn Any + Send>,
) -> Option<Text> {
    let message = panic_text(&*panic).map(Into::into);
    discard(panic);
    message
}

/// As [`panic_message`], for a panic that continues.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

/// Drops a user's value and catches a panic of its `Drop`.
pub(crate) fn discard(value: impl Sized) {
    unharmed(|| drop(value));
}

/// Runs user code and catches a panic, so that the code after it still runs.
pub(crate) fn unharmed(run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        // The `Drop` of the panic may panic, too.
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
