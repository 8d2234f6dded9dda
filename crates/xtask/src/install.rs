//! Seeing to missing programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::needs::Need;
use crate::problem::Problem;
use crate::program;

/// What to do about the programs that are missing.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// None is missing.
    Nothing,
    /// Install these packages.
    Install(Vec<&'static str>),
    /// A person has to: the missing programs, and the command to run.
    Tell(Vec<&'static str>, String),
}

/// Installs what `needs` lack, where that is possible.
pub fn ensure(needs: &[Need]) -> Result<(), Problem> {
    let missing = missing(needs, program::find);
    match plan(&missing, can_install) {
        Plan::Nothing => Ok(()),
        Plan::Tell(programs, remedy) => Err(Problem::Missing { programs, remedy }),
        Plan::Install(packages) => {
            install(&packages)?;
            match self::missing(&missing, program::find).first() {
                None => Ok(()),
                Some(need) => Err(Problem::Install(format!(
                    "package {} brought no program {}",
                    need.package, need.program
                ))),
            }
        }
    }
}

/// The needs whose program `find` does not find.
pub fn missing(needs: &[Need], find: impl Fn(&str) -> Option<PathBuf>) -> Vec<Need> {
    needs
        .iter()
        .filter(|need| find(need.program).is_none())
        .copied()
        .collect()
}

/// What to do about these missing needs.
pub fn plan(missing: &[Need], can_install: impl FnOnce() -> bool) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let packages = distinct(missing.iter().map(|need| need.package));
    if can_install() {
        return Plan::Install(packages);
    }
    let remedy = format!(
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    Plan::Tell(distinct(missing.iter().map(|need| need.program)), remedy)
}

fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn can_install() -> bool {
    is_root() && program::find("apt-get").is_some()
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn install(packages: &[&str]) -> Result<(), Problem> {
    apt_get(&["update"])?;
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(packages);
    apt_get(&args)
}

fn apt_get(args: &[&str]) -> Result<(), Problem> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Problem::Run {
            program: "apt-get".to_owned(),
            source,
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(Problem::Install(format!(
            "apt-get {}: {status}",
            args.join(" ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs::tests::SLEEPER;

    const ABSENT: Need = Need {
        name: "absent",
        program: "no-such-program-anywhere",
        package: "no-such-package",
        ..SLEEPER
    };

    #[test]
    fn only_programs_that_are_not_found_are_missing() {
        let missing = missing(&[SLEEPER, ABSENT], program::find);
        let names: Vec<_> = missing.iter().map(|need| need.name).collect();
        assert_eq!(names, ["absent"]);
    }

    #[test]
    fn nothing_missing_needs_no_look_at_the_machine() {
        assert_eq!(plan(&[], || unreachable!()), Plan::Nothing);
        assert!(ensure(&[]).is_ok());
        assert!(ensure(&[SLEEPER]).is_ok());
    }

    #[test]
    fn packages_are_installed_once_each_where_possible() {
        assert_eq!(
            plan(&[ABSENT, SLEEPER, ABSENT], || true),
            Plan::Install(vec!["coreutils", "no-such-package"])
        );
    }

    #[test]
    fn elsewhere_one_line_says_how_to_install() {
        let Plan::Tell(programs, remedy) = plan(&[ABSENT, SLEEPER], || false) else {
            panic!("nothing can be installed");
        };
        assert_eq!(programs, ["no-such-program-anywhere", "sleep"]);
        assert_eq!(
            remedy,
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends \
             coreutils no-such-package"
        );
        assert!(!remedy.contains('\n'));
    }
}
