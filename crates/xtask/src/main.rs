//! `cargo xtask`: see [`xtask`].

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use xtask::api::Mode;
use xtask::api::packages::PACKAGES;
use xtask::needs::NEEDS;
use xtask::task;

const HELP: &str = "\
Usage: cargo xtask <task>

Tasks:
  test [args]   Run every test of the workspace, doctests included; args are
                passed on to `cargo test`. The last line counts the results.
  public-api [--renew]
                Compare the public API of the published packages with the
                lists of it (public-api.txt), their use of other crates and
                their number of types with what is allowed; or renew the lists.
  help          Print this.
";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let task = args.next();
    match task.as_ref().and_then(|task| task.to_str()) {
        Some("test") => task::test(NEEDS, &args.collect::<Vec<OsString>>()),
        Some("public-api") => match args.collect::<Vec<_>>().as_slice() {
            [] => task::public_api(PACKAGES, Mode::Check),
            [renew] if renew == "--renew" => task::public_api(PACKAGES, Mode::Renew),
            _ => usage(),
        },
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprint!("{HELP}");
    ExitCode::from(2)
}
