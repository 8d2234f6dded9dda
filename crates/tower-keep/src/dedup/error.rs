use std::{error::Error, fmt, sync::Arc};

use crate::{error::BoxError, event::JobId};

/// An identical request is in flight already, and this call was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    job: Option<JobId>,
    panicked: bool,
}

impl Duplicate {
    /// A duplicate of this job.
    #[must_use]
    pub fn new(job: Option<JobId>) -> Self {
        Self {
            job,
            panicked: false,
        }
    }

    pub(super) fn panicked(job: Option<JobId>) -> Self {
        Self {
            job,
            panicked: true,
        }
    }

    /// The job that executes the request; `None` if no layer of its stack tracks it.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }

    /// Whether this call had joined the execution, which then panicked. Otherwise it was rejected at once.
    #[must_use]
    pub fn execution_panicked(&self) -> bool {
        self.panicked
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.panicked {
            "the execution that was joined panicked"
        } else {
            "an identical request is in flight"
        })?;
        match self.job {
            Some(job) => write!(f, " as job {job}"),
            None => Ok(()),
        }
    }
}

impl Error for Duplicate {}

/// The error of an execution that several callers joined. It reads like the error itself, which is its
/// [`source`](Error::source), so that [`find`](crate::find) finds it.
#[derive(Clone, Debug)]
pub struct SharedError(pub(super) Arc<BoxError>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.0)
    }
}
