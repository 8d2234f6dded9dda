//! The list of a public API, made from what rustdoc writes about a library.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use public_api::Builder;
use rustdoc_types::{Crate, FORMAT_VERSION, Id, ItemEnum};
use serde::Deserialize;

use crate::problem::Problem;

/// A public API.
#[derive(Debug)]
pub struct List {
    /// Its items, one a line, each line once; impls that the compiler makes are left out.
    pub lines: Vec<String>,
    /// How many structs, enums, unions, traits and type aliases it has, each counted once, whatever
    /// the number of its paths.
    pub types: usize,
    /// How many functions it has, methods included. The methods of other traits, such as `fmt` and
    /// `clone`, do not count.
    pub functions: usize,
}

impl List {
    /// Reads the JSON file that rustdoc wrote about a library.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        let fail = |reason: String| Problem::Api(format!("{}: {reason}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        let format = format_version(&text);
        if format != Some(FORMAT_VERSION) {
            let format = format.map_or_else(
                || "an unknown format".to_owned(),
                |format| format!("format {format}"),
            );
            return Err(fail(format!(
                "this compiler's rustdoc writes {format}, and the check reads format {FORMAT_VERSION}. \
                 Use the compiler that the list names in its first line, or set `public-api` and \
                 `rustdoc-types` in Cargo.toml to versions for this compiler and renew the list"
            )));
        }
        let mut reader = serde_json::Deserializer::from_str(&text);
        reader.disable_recursion_limit();
        let library = Crate::deserialize(&mut reader).map_err(|error| fail(error.to_string()))?;
        let api = Builder::from_rustdoc_json(file)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()
            .map_err(|error| fail(error.to_string()))?;

        let of_other_traits = methods_of_impls(&library);
        let (mut types, mut functions) = (HashSet::new(), HashSet::new());
        for id in api.items().map(|item| item.id()) {
            match library.index.get(&id).map(|item| &item.inner) {
                Some(
                    ItemEnum::Struct(_)
                    | ItemEnum::Enum(_)
                    | ItemEnum::Union(_)
                    | ItemEnum::Trait(_)
                    | ItemEnum::TypeAlias(_),
                ) => _ = types.insert(id),
                Some(ItemEnum::Function(_)) if !of_other_traits.contains(&id) => {
                    _ = functions.insert(id)
                }
                _ => {}
            }
        }
        let mut seen = HashSet::new();
        Ok(Self {
            lines: api
                .items()
                .map(ToString::to_string)
                // Bounds that a macro writes into its own impls: no user can name them.
                .filter(|line| !line.contains("::__private::"))
                // What is exported twice has its methods twice, by the same path.
                .filter(|line| seen.insert(line.clone()))
                .collect(),
            types: types.len(),
            functions: functions.len(),
        })
    }
}

/// The number of the format that `text` says it is in.
fn format_version(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once("\"format_version\":")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// The methods that are there because a trait wants them.
fn methods_of_impls(library: &Crate) -> HashSet<Id> {
    library
        .index
        .values()
        .filter_map(|item| match &item.inner {
            ItemEnum::Impl(block) if block.trait_.is_some() => Some(&block.items),
            _ => None,
        })
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::process::Command;

    const LIBRARY: &str = "
        pub mod inner {
            pub struct Shown(pub u8);
            impl Shown { pub fn new() -> Self { Self(0) } fn hidden(&self) {} }
            impl core::fmt::Display for Shown {
                fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { Ok(()) }
            }
            pub trait Asked { type Answer; fn ask(&self) -> Self::Answer; }
            #[doc(hidden)] pub struct Unlisted;
        }
        pub use inner::{Asked, Shown};
        pub type Short = Shown;
        pub fn free() {}
        struct Private;
    ";

    fn rustdoc(source: &str) -> Result<List, Problem> {
        let scratch = Scratch::new().unwrap();
        let file = scratch.path().join("sample.rs");
        fs::write(&file, source).unwrap();
        let status = Command::new("rustdoc")
            .args([
                "--edition=2024",
                "--cap-lints=allow",
                "-Zunstable-options",
                "--output-format=json",
            ])
            .arg("--out-dir")
            .arg(scratch.path())
            .arg(&file)
            .env("RUSTC_BOOTSTRAP", "1")
            .status()
            .unwrap();
        assert!(status.success());
        List::read(&scratch.path().join("sample.json"))
    }

    #[test]
    fn the_list_has_each_public_item_and_counts_it_once() {
        let list = match rustdoc(LIBRARY) {
            Ok(list) => list,
            // Refuses a compiler that writes another format.
            Err(problem) => {
                assert!(
                    problem.to_string().contains("rustdoc writes format"),
                    "{problem}"
                );
                return;
            }
        };
        assert_eq!(list.types, 3, "{:#?}", list.lines);
        assert_eq!(list.functions, 3, "{:#?}", list.lines);
        let has = |line: &str| list.lines.iter().any(|item| item == line);
        assert!(
            has("pub struct sample::inner::Shown(pub u8)"),
            "{:#?}",
            list.lines
        );
        assert!(has("pub struct sample::Shown(pub u8)"), "{:#?}", list.lines);
        assert!(has("pub fn sample::free()"), "{:#?}", list.lines);
        let distinct: HashSet<_> = list.lines.iter().collect();
        assert_eq!(distinct.len(), list.lines.len(), "{:#?}", list.lines);
        assert!(
            !list
                .lines
                .iter()
                .any(|item| item.contains("idden") || item.contains("Unlisted"))
        );
    }

    #[test]
    fn another_format_is_refused() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.path().join("other.json");
        for (text, said) in [
            ("{\"format_version\":1}", "writes format 1,"),
            ("{}", "writes an unknown format,"),
        ] {
            fs::write(&file, text).unwrap();
            let problem = List::read(&file).unwrap_err().to_string();
            assert!(problem.contains(said), "{problem}");
        }
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.path().join("none.json");
        assert!(
            List::read(&file)
                .unwrap_err()
                .to_string()
                .contains("none.json")
        );
    }
}
