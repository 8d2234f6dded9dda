//! A simulated day on which a backend browns out, once for each of four ways to call it.
//!
//! ```text
//! cargo run --example outage                       # prints, and draws into outage.svg
//! cargo run --example outage -- --seed 7 --clients 20000 --hours 4 --out somewhere.svg
//! ```
//!
//! 10 000 clients call a backend of limited capacity, each in a rhythm of its own, most at noon.
//! For ten minutes from noon on the backend is three times as slow, and for four of them it is
//! down. Then the cause is gone; whether the trouble is gone too depends on how it is called:
//!
//! | policy | what it does |
//! |---|---|
//! | no policy | one try |
//! | naive retries | up to three more, at once |
//! | retry budget | up to three more, with growing waits by chance, and no more than one for five calls |
//! | budget and circuit | the same behind a circuit breaker: the documented order of the layers |
//!
//! Where to look:
//!
//! | file | what is in it |
//! |---|---|
//! | `policies.rs` | the four stacks |
//! | `backend.rs` | the model of the backend; it knows of no policy |
//! | `clients.rs` | who calls, how often, how patiently |
//! | `day.rs`, `chance.rs` | what happens when, and chance that is the same each time |
//! | `simulation.rs`, `books.rs` | playing a day on the paused clock, counting what happens |
//! | `account.rs`, `report.rs`, `plot.rs` | what it comes to, in words and as a picture |
//!
//! Everything that is called is real: each of the clients is a task with a clone of the stack, as
//! it is used elsewhere. They stand for users of one process that calls the backend for them, so
//! they share one circuit and one budget. Only the clock is not real: it stands still while
//! anything is left to do, and then moves on to what comes next.
//!
//! In the output, load per call is what the backend gets for each call of a client; load per
//! admitted call leaves out the calls that an open circuit rejects. The bound is checked as the
//! budget promises it: whenever a retry is granted, those of the 10 s up to then are at most a
//! fifth of the first attempts in them.
//!
//! The same arguments give the same output, byte for byte. The exit code is 0 if the budgets kept
//! their word, 1 if not, 2 for wrong options.

mod account;
mod args;
mod backend;
mod books;
mod chance;
mod clients;
mod day;
mod failure;
mod plot;
mod policies;
mod report;
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use self::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("outage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let day = args.day();
    let written = |error| io::Error::other(format!("cannot write to {:?}: {error}", args.out));
    // Before the work, lest it be in vain.
    let mut picture = fs::File::create(&args.out).map_err(written)?;
    eprintln!(
        "Playing {} h once for each of four policies; the whole day takes a debug build up to half a minute.",
        day.hours
    );
    let accounts = simulation::all(day, |policy| eprintln!("played: {}", policy.name()))?;
    picture
        .write_all(plot::draw(day, &accounts).as_bytes())
        .map_err(written)?;
    let (verdict, holds) = report::verdict(&accounts);
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n{verdict}", report::render(day, &accounts))?;
    eprintln!("The picture is in {}.", args.out.display());
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
