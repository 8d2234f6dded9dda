//! The crates that a line of a public API names.

use std::collections::BTreeSet;

/// The crates whose items `line` names by a path, but for the standard library.
pub fn crates(line: &str) -> BTreeSet<&str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|path| path.split_once("::"))
        .map(|(first, _)| first)
        // A path begins with a crate. `Self::Error` begins with a type, and what follows `<T as
        // Trait>` with nothing.
        .filter(|first| first.starts_with(|c: char| c.is_lowercase() || c == '_'))
        .filter(|first| !matches!(*first, "core" | "alloc" | "std"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_crate_of_each_path() {
        let line = "pub fn lib::A<S>::b(&self, tokio::time::Instant) -> core::option::Option<Self::Error> \
                    where S: tower_service::Service<u8>, <S as a::B>::Error: core::fmt::Display + 'static";
        let crates: Vec<_> = crates(line).into_iter().collect();
        assert_eq!(crates, ["a", "lib", "tokio", "tower_service"]);
    }

    #[test]
    fn types_generics_and_the_standard_library_are_no_crates() {
        for line in [
            "",
            "pub fn f(T::Item) -> <T as core::iter::Iterator>::Item",
            "pub enum E: u8",
            "pub struct S(alloc::string::String, std::io::Error)",
        ] {
            assert!(crates(line).is_empty(), "{line:?}");
        }
    }
}
