//! The demonstration: every way in which a download goes wrong, from a server of its own.

use std::{process::ExitCode, time::Duration};

use tower_keep::BoxError;

use crate::{
    INTERRUPTED,
    args::Args,
    error::FetchError,
    origin::Origin,
    outcome::{print_table, say},
    plan::Plan,
    screen::complain,
    session::{self, Ended},
    stack::Settings,
};

/// How a job of the demonstration has to end.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Fetched,
    /// Fetched, but not at the first attempt.
    Retried,
    /// Fetched by another job.
    Joined,
    NotFound,
    /// Refused by the host, or kept from it by its circuit.
    Down,
}

/// In the order of their start. Jobs for the host that is down come early, so that its circuit
/// opens, and late, so that it rejects.
const JOBS: [(&str, Expect); 15] = [
    ("/large-video.bin", Expect::Fetched),
    ("/large-video.bin", Expect::Joined),
    ("/slow-first-byte.txt", Expect::Fetched),
    ("/busy.txt", Expect::Retried),
    ("DOWN/down-1.txt", Expect::Down),
    ("DOWN/down-2.txt", Expect::Down),
    ("/busy-retry-after.txt", Expect::Retried),
    ("/stalls-once.bin", Expect::Retried),
    ("/cut-once.bin", Expect::Retried),
    ("/large-dump.bin", Expect::Fetched),
    ("/missing.txt", Expect::NotFound),
    ("DOWN/down-3.txt", Expect::Down),
    ("/hello.txt", Expect::Fetched),
    ("DOWN/down-4.txt", Expect::Down),
    ("/other/hello.txt", Expect::Fetched),
];

pub(crate) async fn run(args: &Args, given: Settings) -> Result<ExitCode, BoxError> {
    let origin = Origin::start().await?;
    let urls = JOBS.map(|(path, _)| match path.strip_prefix("DOWN") {
        Some(path) => format!("http://{}{path}", origin.down()),
        None => format!("http://{}{path}", origin.up()),
    });
    say(&format!(
        "Fetching {} files into {:?}, {} at a time, from a server that misbehaves and a host that is down.",
        urls.len(),
        args.out,
        args.jobs
    ));
    let session = session::run(Plan::new(&urls), in_fast_motion(given), &args.out).await?;
    print_table(&session.ended);
    if session.interrupted {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let mut as_expected = 0;
    for (ended, (_, expect)) in session.ended.iter().zip(JOBS) {
        if holds(expect, ended) {
            as_expected += 1;
        } else {
            complain(&format!(
                "{} should have ended as {expect:?}",
                ended.fetch.job
            ));
        }
    }
    say(&format!(
        "\n{as_expected} of {} jobs ended as this demonstration expects. \
         The failures above belong to it: a 404 is final, and a host that is down is left alone.",
        JOBS.len()
    ));
    Ok(if as_expected == JOBS.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// As for real downloads, in fast motion.
fn in_fast_motion(given: Settings) -> Settings {
    Settings {
        base_delay: Duration::from_millis(250),
        max_delay: Duration::from_secs(5),
        attempt_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        failure_threshold: 1,
        ..given
    }
}

fn holds(expect: Expect, ended: &Ended) -> bool {
    match (expect, &ended.result) {
        (Expect::Fetched, Ok(_)) => ended.record.joined.is_none(),
        (Expect::Retried, Ok(_)) => ended.record.attempts > 1,
        (Expect::Joined, Ok(_)) => ended.record.joined.is_some(),
        (Expect::NotFound, Err(FetchError::Status { status, .. })) => status.as_u16() == 404,
        (Expect::Down, Err(FetchError::Http(error))) => error.is_connect(),
        (Expect::Down, Err(FetchError::Open(_))) => true,
        _ => false,
    }
}
