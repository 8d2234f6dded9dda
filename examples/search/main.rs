//! A search box: each new query replaces the last, equal queries join, results are kept, and Ctrl-C ends it gracefully.
//!
//! ```text
//! cargo run --example search                             # searches the files of this folder as you type
//! cargo run --example search -- --in folder --slow 20    # slowly, so that there is something to see
//! printf 'tok\ntokio\n' | cargo run --example search     # each line is a query; the first one is replaced
//! ```
//!
//! Where to look:
//!
//! | file | what is in it |
//! |---|---|
//! | `stack.rs` | the layers, and why each stands where it does |
//! | `session.rs`, `ended.rs`, `journal.rs` | asking, how it ended, what the layers tell of it |
//! | `searcher.rs`, `walk.rs`, `matching.rs`, `found.rs`, `query.rs` | the service inside: a search over real files |
//! | `piped.rs`, `pipes.rs` | one query a line, one record for each that ends |
//! | `terminal.rs`, `editor.rs`, `history.rs`, `layout.rs`, `screen.rs` | the box: keys, the line that is typed, what is shown, where |
//! | `signals.rs`, `args.rs`, `error.rs` | the rest |
//! | `tests.rs` | the stack on paused time |
//! | `piped-test`, `terminal-test` | the program in pipes and in a real terminal, by script |
//!
//! In a terminal every change of the line asks. Enter asks again and remembers the query for the up and down keys; page up
//! and down move the list; Esc empties the line. Ctrl-C, or Ctrl-D or Esc on an empty line, lets the running search end
//! within `--within` seconds and refuses new ones; the second time it is cancelled. SIGINT, SIGTERM and SIGHUP do the same,
//! in pipes too.
//!
//! The exit code is 0 at the end of the input, or of the box if no running search had to be cut off; 1 if a search that was
//! piped in failed, or what the program itself needs; 2 for wrong options; 130, 143 or 129 after SIGINT, SIGTERM or SIGHUP;
//! and 130 if leaving the box cut a search off. A box whose terminal goes away, and not only says so by SIGHUP, cannot be
//! drawn any more: it ends at once, with 1.

mod args;
mod editor;
mod ended;
mod error;
mod found;
mod history;
mod journal;
mod layout;
mod matching;
mod piped;
mod pipes;
mod query;
mod screen;
mod searcher;
mod session;
mod signals;
mod stack;
mod terminal;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;

use self::{args::Args, journal::Journal, session::Session};

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .and_then(|runtime| {
            let ended = runtime.block_on(run(&args));
            // A thread that is stuck in a read, as on a network's folder, is not waited for.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "search: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> io::Result<u8> {
    let log = args.log.as_ref().map(|path| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map_err(|error| io::Error::other(format!("cannot write to {path:?}: {error}")))
    });
    let journal = Arc::new(Journal::new(log.transpose()?));
    let search = searcher::searcher(args.folder.as_path().into(), args.slow());
    let stack = stack::build(search, args.settings(), Arc::clone(&journal));
    let session = Session::new(stack, journal);
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        terminal::run(args, session).await
    } else {
        piped::run(args, session).await
    }
}
