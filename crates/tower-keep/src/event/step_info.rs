//! A step as events and views name it.

use std::{fmt, sync::Arc};

/// A named step of a job: which one it is, of how many.
///
/// The name is the user's own text, and may be empty or hold anything; [`Display`](fmt::Display) escapes it.
///
/// ```
/// use tower_keep::StepInfo;
///
/// assert_eq!(StepInfo::new("upload", 2, Some(3)).to_string(), r#"step 2 of 3 "upload""#);
/// assert_eq!(StepInfo::new("two\nlines", 1, None).to_string(), r#"step 1 "two\nlines""#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StepInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its number, counted from 1 in the order in which the steps of an attempt begin. It goes on past `total` if more
    /// steps are taken than were announced, and stays at [`u32::MAX`].
    pub number: u32,
    /// How many there are, if the job said so and it was not 0.
    pub total: Option<u32>,
}

impl StepInfo {
    /// A step, as for a test of an observer.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, number: u32, total: Option<u32>) -> Self {
        Self {
            name: name.into(),
            number,
            total,
        }
    }
}

impl fmt::Display for StepInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.number)?;
        if let Some(total) = self.total {
            write!(f, " of {total}")?;
        }
        write!(f, " {:?}", self.name)
    }
}
