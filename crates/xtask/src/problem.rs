//! Why a task could not do its work.

use std::fmt;
use std::io;

/// Why a task could not do its work.
#[derive(Debug)]
pub enum Problem {
    /// Programs are missing and only a person can install them.
    Missing {
        /// Their names.
        programs: Vec<&'static str>,
        /// The command that installs them.
        remedy: String,
    },
    /// Installing went wrong.
    Install(String),
    /// A server did not start.
    Server {
        /// Its name.
        name: &'static str,
        /// What happened, and what it wrote.
        reason: String,
    },
    /// A public API could not be listed.
    Api(String),
    /// A program could not be run.
    Run {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { programs, remedy } => write!(
                f,
                "the tests need {}; install with:\n{remedy}",
                programs.join(", ")
            ),
            Self::Install(reason) => write!(f, "could not install: {reason}"),
            Self::Server { name, reason } => write!(f, "{name} did not start: {reason}"),
            Self::Api(reason) => f.write_str(reason),
            Self::Run { program, source } => write!(f, "could not run {program}: {source}"),
        }
    }
}

impl std::error::Error for Problem {}
