//! [`StepInfo`]: a step in events and views.

use std::{fmt, sync::Arc};

/// A named step of a job: its number and the number of steps.
///
/// The name is any text of the user, also empty. [`Display`](fmt::Display) escapes it.
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
    /// The name of the step.
    pub name: Arc<str>,
    /// The number, counted from 1 in the order in which the steps of an attempt begin. It goes
    /// beyond `total` if more steps begin than announced, and saturates at [`u32::MAX`].
    pub number: u32,
    /// The number of steps, if the job announced one above 0.
    pub total: Option<u32>,
}

impl StepInfo {
    /// A step for tests of an observer.
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
