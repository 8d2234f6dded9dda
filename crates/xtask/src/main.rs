//! `cargo xtask`: see [`xtask`].

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use xtask::needs::NEEDS;
use xtask::task;

const HELP: &str = "\
Usage: cargo xtask <task>

Tasks:
  test [args]   Run every test of the workspace, doctests included; args are
                passed on to `cargo test`. The last line counts the results.
  help          Print this.
";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let task = args.next();
    match task.as_ref().and_then(|task| task.to_str()) {
        Some("test") => task::test(NEEDS, &args.collect::<Vec<OsString>>()),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}
