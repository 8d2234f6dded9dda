//! Looking for programs.

use std::env;
use std::ffi::OsStr;
#[cfg(unix)]
use std::fs;
use std::path::{Path, PathBuf};

/// Where `program` is on this process's `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?, program)
}

/// Where `program` is on `path`, a list in the form of `PATH`.
pub fn find_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_program_that_exists() {
        assert!(find("sh").is_some_and(|file| file.ends_with("sh")));
    }

    #[test]
    fn does_not_find_a_program_that_does_not_exist() {
        assert_eq!(find("no-such-program-anywhere"), None);
        assert_eq!(find_in(OsStr::new(""), "no-such-program-anywhere"), None);
    }

    #[test]
    fn neither_a_directory_nor_a_plain_file_is_a_program() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(find_in(here.as_os_str(), "src"), None);
        assert_eq!(find_in(here.join("src").as_os_str(), "lib.rs"), None);
    }
}
