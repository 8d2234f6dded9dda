//! The tasks themselves.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use crate::api::packages::Package;
use crate::api::{self, Mode};
use crate::install;
use crate::needs::{self, Need};
use crate::problem::Problem;
use crate::server::Server;
use crate::suite::{self, Outcome};

/// Runs every test, with `args` passed on to `cargo test`, and ends with a line such as `12 passed,
/// 0 failed`.
///
/// Fails when a test fails, when the tests do not compile, when none runs, and, without that line,
/// when something the tests need is not to be had.
pub fn test(needs: &[Need], args: &[OsString]) -> ExitCode {
    let command = suite::cargo_test(&needs::features(needs), args);
    match run(needs, command, &mut io::stdout()) {
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
        Ok(Outcome { counts, fault }) => {
            println!();
            if let Some(fault) = &fault {
                println!("error: {fault}");
            }
            println!("{counts}");
            ExitCode::from(u8::from(fault.is_some()))
        }
    }
}

/// Holds the public API of `packages` against the lists of it, or renews them.
///
/// Fails when a list differs, when there are more types than allowed or types of crates that are
/// not allowed, and when the compiler is not to be had.
pub fn public_api(packages: &[Package], mode: Mode) -> ExitCode {
    match api::run(packages, mode) {
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
        Ok(faults) => {
            for fault in &faults {
                eprintln!("error: {fault}");
            }
            ExitCode::from(u8::from(!faults.is_empty()))
        }
    }
}

/// Runs `command` while the servers that it needs are up.
fn run(needs: &[Need], mut command: Command, out: &mut impl Write) -> Result<Outcome, Problem> {
    install::ensure(needs)?;
    let servers = Server::start_all(needs)?;
    command.envs(servers.iter().map(Server::variable));
    suite::run(&mut command, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs::tests::SLEEPER;
    use crate::server::tests::FAKE;
    use std::net::TcpStream;

    #[test]
    fn servers_are_up_during_the_run_and_only_then() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo \"$FAKE_ADDRESS\""]);
        let mut out = Vec::new();
        run(&[FAKE], command, &mut out).unwrap();
        let address = String::from_utf8(out).unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address:?}");
        assert!(TcpStream::connect(address.trim_end()).is_err());
    }

    #[test]
    fn nothing_runs_when_a_server_does_not_start() {
        let mut out = Vec::new();
        let mut command = Command::new("echo");
        command.arg("running");
        let problem = run(&[FAKE, SLEEPER], command, &mut out);
        assert!(matches!(
            problem,
            Err(Problem::Server {
                name: "sleeper",
                ..
            })
        ));
        assert!(out.is_empty());
    }
}
