//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::stack::Settings;

/// Fetches URLs into a folder, each as a job behind seven layers of defence.
///
/// Without a URL it shows what it can do, against a misbehaving server of its own.
#[derive(Debug, Parser)]
#[command(name = "fetch")]
pub(crate) struct Args {
    /// What to fetch
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,

    /// The folder for the files; a file that is there already is replaced once the new one is complete
    #[arg(long, short, value_name = "FOLDER", default_value = "downloads")]
    pub(crate) out: PathBuf,

    /// How many downloads run at once
    #[arg(long, short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,

    /// How often a download is tried again
    #[arg(long, value_name = "N", requires = "urls")]
    retries: Option<u32>,

    /// The limit for one attempt, up to the end of the body
    #[arg(long, value_name = "SECONDS", requires = "urls", value_parser = clap::value_parser!(u64).range(1..))]
    attempt_timeout: Option<u64>,

    /// The limit for all attempts of a download and the waits between them
    #[arg(long, value_name = "SECONDS", requires = "urls", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

impl Args {
    /// Settings for the real world, where bodies are large and servers slow.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            jobs: self.jobs.into(),
            max_retries: self.retries.unwrap_or(3),
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(self.attempt_timeout.unwrap_or(600)),
            timeout: Duration::from_secs(self.timeout.unwrap_or(1800)),
            failure_threshold: 2,
            cooldown: Duration::from_secs(30),
        }
    }
}
