//! The setters that the source has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A method that takes a layer, or another thing that is built, and returns a changed one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Setter {
    pub(crate) of: String,
    pub(crate) name: String,
}

impl Setter {
    pub(crate) fn new(of: &str, name: &str) -> Self {
        Self {
            of: of.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// Types with setters that can be cloned, apart from the layers.
const BUILT: [&str; 6] = [
    "Backoff",
    "Dispatcher",
    "Pipeline",
    "RetryBudget",
    "RetryBudgets",
    "Scripted",
];

/// All setters in the library and in the test kit.
pub(crate) fn setters() -> BTreeSet<Setter> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut files = Vec::new();
    for member in ["tower-keep/src", "tower-keep-test/src"] {
        add_files(&crates.join(member), &mut files);
    }
    let mut setters = BTreeSet::new();
    for file in files {
        add_setters(&fs::read_to_string(file).unwrap(), &mut setters);
    }
    setters
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// rustfmt puts the header of an inherent impl at the margin, and each of its methods four spaces
/// in.
fn add_setters(source: &str, setters: &mut BTreeSet<Setter>) {
    let mut of = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("impl") {
            of = built_by(line);
        }
        let method = ["    pub fn ", "    pub const fn "]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        let (Some(of), Some(method)) = (&of, method) else {
            continue;
        };
        let mut signature = method.to_owned();
        while !signature.contains('{') {
            signature.push(' ');
            signature.push_str(lines.next().expect("a body").trim());
        }
        let name = signature.split(['(', '<']).next().unwrap_or_default();
        if is_setter(&signature) {
            setters.insert(Setter::new(of, name));
        }
    }
}

/// The type of an inherent impl, if it is built by setters.
fn built_by(header: &str) -> Option<String> {
    let mut rest = header.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.char_indices().find_map(|(at, letter)| {
            match letter {
                '<' => depth += 1,
                '>' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at + 1)
        })?;
        rest = &rest[end..];
    }
    if rest.contains(" for ") {
        return None;
    }
    let name = rest.trim_start().split(['<', ' ']).next()?;
    let is_built = name.ends_with("Layer") || BUILT.contains(&name);
    is_built.then(|| name.to_owned())
}

fn is_setter(signature: &str) -> bool {
    let (_, parameters) = signature.split_once('(').unwrap_or_default();
    let parameters = parameters.trim_start();
    let by_value = ["self,", "self)", "mut self,", "mut self)"];
    let returns_another = signature.contains("-> Self") || signature.contains("-> Result<Self");
    by_value.iter().any(|start| parameters.starts_with(start))
        || (parameters.starts_with("&self") && returns_another)
}
