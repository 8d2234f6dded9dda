//! Running `cargo test` and counting its results.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};

use crate::counts::Counts;
use crate::problem::Problem;

/// How a run of the suite went.
#[derive(Debug)]
pub struct Outcome {
    /// The sum over all its test programs.
    pub counts: Counts,
    /// What is wrong with it, if anything.
    pub fault: Option<String>,
}

/// `cargo test` for the whole workspace, doctests included.
///
/// The library's own features are all on by default; `features` are those of the package
/// `tower-keep-tests` to add.
pub fn cargo_test(features: &[&str], args: &[OsString]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    for feature in features {
        command.arg(format!("--features=tower-keep-tests/{feature}"));
    }
    command.args(args);
    command
}

/// Runs `command`, passing its output through to `out`.
pub fn run(command: &mut Command, out: &mut impl Write) -> Result<Outcome, Problem> {
    stream(command, out)
        .map(|(counts, status)| judge(counts, status))
        .map_err(|source| Problem::Run {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })
}

fn stream(command: &mut Command, out: &mut impl Write) -> io::Result<(Counts, ExitStatus)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line)? > 0 {
            out.write_all(&line)?;
            out.flush()?;
            if let Some(more) = Counts::from_line(String::from_utf8_lossy(&line).trim_end()) {
                counts += more;
            }
            line.clear();
        }
    }
    Ok((counts, child.wait()?))
}

/// A run that failed without a failed test, as when something does not compile, counts as one
/// failure.
fn judge(mut counts: Counts, status: ExitStatus) -> Outcome {
    let fault = if counts.failed > 0 {
        Some("some tests failed".to_owned())
    } else if !status.success() {
        counts.failed = 1;
        Some(format!("the run itself failed: {status}"))
    } else if counts.passed == 0 {
        Some("no test ran".to_owned())
    } else {
        None
    };
    Outcome { counts, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line printed, and what was wrong.
    fn outcome(script: &str) -> (String, Option<String>) {
        let mut out = Vec::new();
        let outcome = run(Command::new("sh").args(["-c", script]), &mut out).unwrap();
        (outcome.counts.to_string(), outcome.fault)
    }

    fn fault(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn adds_up_all_test_programs() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored'
                      echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        assert_eq!(
            outcome(script),
            ("5 passed, 0 failed, 1 skipped".to_owned(), None)
        );
    }

    #[test]
    fn a_failed_test_is_a_fault() {
        let script = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101";
        assert_eq!(
            outcome(script),
            ("2 passed, 1 failed".to_owned(), fault("some tests failed"))
        );
    }

    #[test]
    fn a_run_that_does_not_get_to_the_tests_is_a_failure() {
        assert_eq!(
            outcome("exit 101"),
            (
                "0 passed, 1 failed".to_owned(),
                fault("the run itself failed: exit status: 101")
            )
        );
    }

    #[test]
    fn a_test_program_that_dies_is_a_failure() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 101";
        assert_eq!(
            outcome(script),
            (
                "2 passed, 1 failed".to_owned(),
                fault("the run itself failed: exit status: 101")
            )
        );
    }

    #[test]
    fn a_run_without_tests_is_a_fault() {
        assert_eq!(
            outcome("echo 'test result: ok. 0 passed; 0 failed; 7 ignored'"),
            (
                "0 passed, 0 failed, 7 skipped".to_owned(),
                fault("no test ran")
            )
        );
    }

    #[test]
    fn output_passes_through_byte_for_byte() {
        let mut out = Vec::new();
        let script = "printf 'one\\n\\377two\\n\\nno newline'";
        run(Command::new("sh").args(["-c", script]), &mut out).unwrap();
        assert_eq!(out, b"one\n\xfftwo\n\nno newline");
    }

    #[test]
    fn a_missing_program_is_named() {
        let problem = run(
            &mut Command::new("no-such-program-anywhere"),
            &mut Vec::new(),
        );
        assert!(matches!(
            problem,
            Err(Problem::Run { program, .. }) if program == "no-such-program-anywhere"
        ));
    }

    #[test]
    fn features_come_before_the_other_arguments() {
        let command = cargo_test(&["browser", "servers"], &["--".into(), "name".into()]);
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(
            args,
            [
                "test",
                "--workspace",
                "--no-fail-fast",
                "--features=tower-keep-tests/browser",
                "--features=tower-keep-tests/servers",
                "--",
                "name"
            ]
        );
    }
}
