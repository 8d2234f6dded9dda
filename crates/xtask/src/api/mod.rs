//! `cargo xtask public-api`: the public API of each published package, held against the list of it
//! that is kept next to the package.

pub mod difference;
pub mod external;
pub mod list;
pub mod packages;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::problem::Problem;
use difference::Difference;
use list::List;
use packages::Package;

/// What renews the lists.
const REMEDY: &str = "cargo xtask public-api --renew";

/// Which features a package is looked at with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Features {
    Default,
    All,
}

/// What to do where a list is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Say how it differs.
    Check,
    /// Write it.
    Renew,
}

/// Checks or renews the lists of all `packages`, and prints how much there is.
///
/// Gives what is wrong with them, one message for each fault.
pub fn run(packages: &[Package], mode: Mode) -> Result<Vec<String>, Problem> {
    let compiler = compiler()?;
    let workspace = workspace();
    let mut faults = Vec::new();
    for package in packages {
        let basic = document(&workspace, package, Features::Default)?;
        println!(
            "{}: {} public types and {} functions with default features",
            package.name, basic.types, basic.functions
        );
        faults.extend(too_many(package, basic.types));
        let full = document(&workspace, package, Features::All)?;
        faults.extend(strangers(package, &full.lines));

        let file = workspace.join(package.list());
        match mode {
            Mode::Renew => write(&file, &render(package, &compiler, &full.lines))?,
            Mode::Check => faults.extend(differs(package, &compiler, &read(&file), &full.lines)),
        }
    }
    Ok(faults)
}

/// The public API of `package`, by the compiler in use.
///
/// Only a nightly compiler writes about a library in JSON. `RUSTC_BOOTSTRAP` makes a stable compiler
/// do so too. It builds in a directory of its own, so that the other builds do not start over.
fn document(workspace: &Path, package: &Package, features: Features) -> Result<List, Problem> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = workspace.join(target).join("bootstrap");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["rustdoc", "--quiet", "--lib", "--package", package.name])
        .arg("--target-dir")
        .arg(&target);
    if features == Features::All {
        command.arg("--all-features");
    }
    command.args([
        "--",
        "-Zunstable-options",
        "--output-format=json",
        "--cap-lints=allow",
    ]);
    let status = command.status().map_err(|source| Problem::Run {
        program: "cargo rustdoc".to_owned(),
        source,
    })?;
    if !status.success() {
        return Err(Problem::Api(format!(
            "cargo rustdoc of {}: {status}",
            package.name
        )));
    }
    List::read(
        &target
            .join("doc")
            .join(package.library())
            .with_extension("json"),
    )
}

fn too_many(package: &Package, types: usize) -> Option<String> {
    let most = package.most_types.filter(|most| types > *most)?;
    Some(format!(
        "{} has {types} public types with default features, and {most} is the most \
         (`most_types` in crates/xtask/src/api/packages.rs)",
        package.name
    ))
}

/// The crates that are named and not allowed, and that are allowed and not named.
fn strangers(package: &Package, lines: &[String]) -> Vec<String> {
    let library = package.library();
    let named: BTreeSet<_> = lines
        .iter()
        .flat_map(|line| external::crates(line))
        .collect();
    let allowed: BTreeSet<_> = package.external.iter().copied().collect();
    let mut faults = Vec::new();
    for stranger in named
        .difference(&allowed)
        .filter(|named| **named != library)
    {
        let lines = lines
            .iter()
            .filter(|line| external::crates(line).contains(stranger));
        let lines: String = lines.map(|line| format!("\n    {line}")).collect();
        faults.push(format!(
            "the public API of {} names the crate {stranger}, which `external` in \
             crates/xtask/src/api/packages.rs does not allow:{lines}",
            package.name
        ));
    }
    for unused in allowed.difference(&named) {
        faults.push(format!(
            "the public API of {} no longer names the crate {unused}: take it out of `external` in \
             crates/xtask/src/api/packages.rs",
            package.name
        ));
    }
    faults
}

/// The text of a list. Its first line says what it belongs to.
fn render(package: &Package, compiler: &str, lines: &[String]) -> String {
    let mut text = format!(
        "# The public API of {} with all features, by {compiler}. Made by `{REMEDY}`.\n",
        package.name
    );
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// How the list in `text` differs from these lines.
fn differs(package: &Package, compiler: &str, text: &str, lines: &[String]) -> Option<String> {
    let (head, listed): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("# "));
    let difference = Difference::between(listed.into_iter(), lines.iter().map(String::as_str));
    if difference.is_empty() {
        return None;
    }
    let other = if head.iter().any(|line| line.contains(compiler)) {
        String::new()
    } else {
        format!("\nThis is {compiler}; another compiler made the list and may see other paths.")
    };
    Some(format!(
        "the public API of {} is not what {} says (-) but this (+):\n{difference}\
         If that is meant, run `{REMEDY}` and commit the list.{other}",
        package.name,
        package.list()
    ))
}

/// An absent list is an empty one.
fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn write(file: &Path, text: &str) -> Result<(), Problem> {
    fs::write(file, text).map_err(|error| Problem::Api(format!("{}: {error}", file.display())))
}

/// Its name and version, as in `rustc 1.95.0`.
fn compiler() -> Result<String, Problem> {
    let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .map_err(|source| Problem::Run {
            program: program.to_string_lossy().into_owned(),
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" "))
}

/// Where the workspace is.
fn workspace() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Package = Package {
        name: "a-sample",
        external: &["tokio"],
        most_types: Some(2),
    };

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_list_is_equal_to_what_it_was_made_from() {
        let lines = lines("pub mod a_sample\npub fn a_sample::f()");
        let text = render(&SAMPLE, "rustc 1.2.3", &lines);
        assert_eq!(differs(&SAMPLE, "rustc 1.2.3", &text, &lines), None);
        assert_eq!(differs(&SAMPLE, "rustc 1.2.4", &text, &lines), None);
    }

    #[test]
    fn a_difference_is_shown_with_its_remedy() {
        let text = render(&SAMPLE, "rustc 1.2.3", &lines("pub fn a_sample::f()"));
        let fault = differs(
            &SAMPLE,
            "rustc 1.2.3",
            &text,
            &lines("pub fn a_sample::g()"),
        )
        .unwrap();
        assert!(
            fault.contains("\n- pub fn a_sample::f()\n+ pub fn a_sample::g()\n"),
            "{fault}"
        );
        assert!(
            fault.contains("`cargo xtask public-api --renew`"),
            "{fault}"
        );
        assert!(!fault.contains("another compiler"), "{fault}");
    }

    #[test]
    fn a_difference_says_when_another_compiler_made_the_list() {
        let text = render(&SAMPLE, "rustc 1.2.3", &[]);
        let fault = differs(
            &SAMPLE,
            "rustc 1.3.0",
            &text,
            &lines("pub fn a_sample::g()"),
        )
        .unwrap();
        assert!(
            fault.contains("This is rustc 1.3.0; another compiler"),
            "{fault}"
        );
    }

    #[test]
    fn an_absent_list_differs() {
        let text = read(Path::new("no/such/list.txt"));
        assert!(differs(&SAMPLE, "rustc 1.2.3", &text, &lines("pub mod a_sample")).is_some());
    }

    #[test]
    fn a_crate_that_is_not_allowed_is_named_with_its_lines() {
        let lines = lines("pub fn a_sample::f(tokio::A)\npub fn a_sample::g(http::Request)");
        let faults = strangers(&SAMPLE, &lines);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("the crate http,"), "{faults:?}");
        assert!(
            faults[0].ends_with(":\n    pub fn a_sample::g(http::Request)"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_crate_that_is_allowed_for_nothing_is_a_fault() {
        let faults = strangers(&SAMPLE, &lines("pub mod a_sample"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].contains("no longer names the crate tokio"),
            "{faults:?}"
        );
    }

    #[test]
    fn types_are_limited_where_a_limit_is_set() {
        assert_eq!(too_many(&SAMPLE, 2), None);
        assert!(too_many(&SAMPLE, 3).unwrap().contains("3 public types"));
        let unlimited = Package {
            most_types: None,
            ..SAMPLE
        };
        assert_eq!(too_many(&unlimited, 1000), None);
    }
}
