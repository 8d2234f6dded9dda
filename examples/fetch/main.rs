//! A downloader through all seven layers, over a real HTTP client.
//!
//! ```text
//! cargo run --example fetch                          # a demonstration that needs no network
//! cargo run --example fetch -- URL... --out folder   # fetches these
//! cargo run --example fetch --features tls -- https://...
//! ```
//!
//! Where to look:
//!
//! | file | what is in it |
//! |---|---|
//! | `stack.rs` | the seven layers, and one circuit for each host |
//! | `download.rs`, `part_file.rs` | the service inside them: one URL into one file |
//! | `policy.rs`, `retry_after.rs`, `error.rs` | what is tried again and when, what counts for a circuit, what can go wrong |
//! | `journal.rs`, `screen.rs` | what the layers tell: the lines and the bars |
//! | `plan.rs`, `file_name.rs`, `session.rs`, `outcome.rs` | from arguments to jobs and files, running them, the closing table |
//! | `demo.rs`, `origin.rs` | the demonstration, and the server that misbehaves in it |
//!
//! The exit code is 0 if all was fetched, 1 if not, 2 for wrong options, 130 after Ctrl-C.

mod args;
mod demo;
mod download;
mod error;
mod file_name;
mod human;
mod journal;
mod origin;
mod outcome;
mod part_file;
mod plan;
mod policy;
mod retry_after;
mod screen;
mod session;
mod stack;

use std::{env, process::ExitCode};

use self::{args::Args, plan::Plan, screen::complain, stack::Settings};

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

// Whatever the machine has: while one thread writes and is blocked, the other still heeds Ctrl-C.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let (args, settings) = match Args::checked(env::args_os()) {
        Ok(checked) => checked,
        Err(error) => error.exit(),
    };
    if let Err(error) = part_file::prepare_folder(&args.out) {
        complain(&format!("cannot write to {:?}: {error}", args.out));
        return ExitCode::FAILURE;
    }
    let ended = if args.urls.is_empty() {
        demo::run(&args, settings).await
    } else {
        fetch(&args, settings).await
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn fetch(args: &Args, settings: Settings) -> Result<ExitCode, tower_keep::BoxError> {
    let plan = Plan::new(&args.urls);
    for refused in &plan.refused {
        complain(refused);
    }
    if plan.fetches.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let all_good = plan.refused.is_empty();
    let session = session::run(plan, settings, &args.out).await?;
    outcome::print_table(&session.ended);
    let all_fetched = session.ended.iter().all(|ended| ended.result.is_ok());
    Ok(if session.interrupted {
        ExitCode::from(INTERRUPTED)
    } else if all_good && all_fetched {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
