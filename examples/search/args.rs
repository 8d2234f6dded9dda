//! The command line.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Parser;

use crate::stack::Settings;

/// Searches the files of a folder while you type, or for each line that is piped in.
#[derive(Debug, Parser)]
#[command(name = "search")]
pub(crate) struct Args {
    /// The folder to search
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,

    /// How long a result is kept for equal queries
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    keep: u64,

    /// How many results are kept
    #[arg(long, value_name = "N", default_value = "100")]
    most: NonZeroUsize,

    /// The limit for one search
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,

    /// How long a search that runs at Ctrl-C may go on
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    within: u64,

    /// Waits this long before each file, so that there is something to see
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    slow: u64,

    /// Piped in: how many files are listed for a result
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) show: usize,

    /// Piped in: asks each line only when the one before it is answered
    #[arg(long)]
    pub(crate) sequential: bool,

    /// Adds every event of every search to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
}

impl Args {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            keep: Duration::from_secs(self.keep),
            most: self.most,
            limit: Duration::from_secs(self.limit),
        }
    }

    pub(crate) fn within(&self) -> Duration {
        Duration::from_secs(self.within)
    }

    pub(crate) fn slow(&self) -> Duration {
        Duration::from_millis(self.slow)
    }
}
