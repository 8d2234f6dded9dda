//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser, error::ErrorKind};

use crate::{human::Took, stack::Settings};

/// For large bodies and slow servers.
const TIMEOUT: Duration = Duration::from_secs(1800);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);
const RETRIES: u32 = 3;

/// Fetches URLs into a folder, each as a job behind seven layers of defence.
///
/// Without a URL it shows what it can do, against a misbehaving server of its own.
#[derive(Debug, Parser)]
#[command(name = "fetch")]
pub(crate) struct Args {
    /// What to fetch
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,

    /// The folder for the files; a file that is there already is replaced once the new one is
    /// complete
    #[arg(long, short, value_name = "FOLDER", default_value = "downloads")]
    pub(crate) out: PathBuf,

    /// How many downloads run at once
    #[arg(long, short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,

    /// How often a download is tried again [default: 3, or fewer where their waits exceed the
    /// timeout]
    #[arg(long, value_name = "N", requires = "urls")]
    retries: Option<u32>,

    /// The limit for one attempt, up to the end of the body [default: 600, or the timeout if that
    /// is less]
    #[arg(long, value_name = "SECONDS", requires = "urls", value_parser = clap::value_parser!(u64).range(1..))]
    attempt_timeout: Option<u64>,

    /// The limit for all attempts of a download and the waits between them [default: 1800]
    #[arg(long, value_name = "SECONDS", requires = "urls", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

impl Args {
    /// The command line of this process, or an error that says which of its options do not go
    /// together.
    pub(crate) fn checked<I>(words: I) -> Result<(Self, Settings), clap::Error>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        let args = Self::try_parse_from(words)?;
        let settings = args.settings().map_err(|conflict| {
            let mut command = Self::command();
            command.error(ErrorKind::ValueValidation, conflict)
        })?;
        Ok((args, settings))
    }

    /// Settings for the real world. What was not given follows what was.
    fn settings(&self) -> Result<Settings, String> {
        let timeout = self.timeout.map_or(TIMEOUT, Duration::from_secs);
        let attempt_timeout = match self.attempt_timeout.map(Duration::from_secs) {
            None => ATTEMPT_TIMEOUT.min(timeout),
            Some(attempt) if attempt > timeout => {
                return Err(format!(
                    "--attempt-timeout of {} is longer than {} for all attempts of a download; \
                     give a shorter one, or a longer --timeout",
                    Took(attempt),
                    self.limit(timeout),
                ));
            }
            Some(attempt) => attempt,
        };
        let mut settings = Settings {
            jobs: self.jobs.into(),
            max_retries: self.retries.unwrap_or(RETRIES),
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            attempt_timeout,
            timeout,
            failure_threshold: 2,
            cooldown: Duration::from_secs(30),
        };
        let waits = settings.retry().total_delay();
        if self.retries.is_some() && waits >= timeout {
            return Err(format!(
                "--retries of {} waits for {} between the attempts of a download, which is no less than {} \
                 for all of it; give fewer, or a longer --timeout",
                settings.max_retries,
                Took(waits),
                self.limit(timeout),
            ));
        }
        while settings.max_retries > 0 && settings.retry().total_delay() >= timeout {
            settings.max_retries -= 1;
        }
        Ok(settings)
    }

    /// The overall limit, and whether it was given.
    fn limit(&self, timeout: Duration) -> String {
        match self.timeout {
            Some(_) => format!("--timeout of {}", Took(timeout)),
            None => format!("the default --timeout of {}", Took(timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(options: &[&str]) -> Result<Settings, clap::Error> {
        let words = ["fetch", "http://localhost/file"].iter().chain(options);
        Args::checked(words).map(|(_, settings)| settings)
    }

    #[track_caller]
    fn refused(options: &[&str], says: &[&str]) {
        let error = checked(options).expect_err("it does not go together");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        for part in says {
            assert!(text.contains(part), "{text}");
        }
    }

    /// An attempt cannot take longer than all attempts, whichever of the two limits was given.
    #[test]
    fn an_attempt_fits_into_the_whole() {
        refused(
            &["--timeout", "1", "--attempt-timeout", "5"],
            &["--attempt-timeout of 5.0 s", "--timeout of 1.0 s"],
        );
        refused(
            &["--attempt-timeout", "1801"],
            &["30 min 01 s", "the default --timeout of 30 min 00 s"],
        );
        for (options, expected) in [
            (&[][..], (1800, 600)),
            (&["--timeout", "5", "--attempt-timeout", "5"], (5, 5)),
            (&["--timeout", "5"], (5, 5)),
            (&["--timeout", "700"], (700, 600)),
            (&["--attempt-timeout", "1800"], (1800, 1800)),
        ] {
            let settings = checked(options).unwrap();
            let limits = [settings.timeout, settings.attempt_timeout].map(|limit| limit.as_secs());
            assert_eq!(limits, [expected.0, expected.1], "{options:?}");
        }
    }

    /// Retries whose waits take all the time can never be made.
    #[test]
    fn the_waits_fit_into_the_whole() {
        refused(
            &["--timeout", "7", "--retries", "3"],
            &["--retries of 3 waits for 7.0 s", "--timeout of 7.0 s"],
        );
        refused(
            &["--retries", "100"],
            &["--retries of 100", "the default --timeout"],
        );
        refused(&["--retries", "4294967295"], &["--retries of 4294967295"]);
        for (options, expected) in [
            (&[][..], 3),
            (&["--timeout", "8", "--retries", "3"], 3),
            (&["--timeout", "7"], 2),
            (&["--timeout", "1"], 0),
            (&["--timeout", "1", "--retries", "0"], 0),
            (&["--timeout", "7200", "--retries", "100"], 100),
        ] {
            assert_eq!(
                checked(options).unwrap().max_retries,
                expected,
                "{options:?}"
            );
        }
    }

    /// What is no number, too small, too large, or without a URL is refused with the option's name.
    #[test]
    fn bad_values_are_refused() {
        for (option, values) in [
            ("--timeout", &["0", "-1", "1.5", "soon", ""][..]),
            ("--attempt-timeout", &["0", "-1", "1.5", "soon", ""]),
            ("--retries", &["-1", "many", "4294967296"]),
            ("--jobs", &["0", "65536", "all"]),
        ] {
            for value in values {
                refused(&[&format!("{option}={value}")], &[option]);
            }
        }
        for option in ["--timeout=5", "--attempt-timeout=5", "--retries=5"] {
            let error = Args::checked(["fetch", option]).unwrap_err();
            assert!(error.to_string().contains("<URL>"), "{error}");
        }
        let longest = u64::MAX.to_string();
        let settings = checked(&["--timeout", &longest, "--attempt-timeout", &longest]).unwrap();
        assert_eq!(settings.timeout.as_secs(), u64::MAX);
    }

    /// The demonstration takes the same command line, without limits.
    #[test]
    fn without_a_url_there_are_settings_too() {
        let (args, settings) = Args::checked(["fetch", "--jobs", "2"]).unwrap();
        assert!(args.urls.is_empty());
        assert_eq!((settings.jobs, settings.max_retries), (2, 3));
    }
}
