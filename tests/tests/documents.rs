//! The lists of requirements and complaints agree with the tests, and the README with the examples.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A test function, by its file and its name, such as `("cancel/token.rs", "grace")`.
type Name = (String, String);

/// All test functions of this member, with their doc comments.
fn tests() -> BTreeMap<Name, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut tests = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&root).unwrap().to_str().unwrap();
                for (name, doc) in tests_of(&fs::read_to_string(&path).unwrap()) {
                    tests.insert((file.to_owned(), name), doc);
                }
            }
        }
    }
    tests
}

/// The functions that have a test attribute, also within a macro, with their doc comments.
fn tests_of(source: &str) -> Vec<(String, String)> {
    let (mut doc, mut is_test) = (String::new(), false);
    let mut tests = Vec::new();
    for line in source.lines().map(str::trim_start) {
        let function = line.strip_prefix("async ").unwrap_or(line);
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            if let (true, Some(rest)) = (is_test, function.strip_prefix("fn ")) {
                let name = rest.split('(').next().unwrap();
                tests.push((name.to_owned(), std::mem::take(&mut doc)));
            }
            doc.clear();
            is_test = false;
        }
    }
    tests
}

fn read(document: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap()
}

/// The requirements that a text names, such as `R1` and `R16b`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| {
            let number = word.strip_prefix('R').unwrap_or_default();
            let number = number.strip_suffix('b').unwrap_or(number);
            number.parse::<u32>().is_ok()
        })
}

/// The requirements of the list: the built ones, and the planned ones.
fn requirements() -> [BTreeSet<String>; 2] {
    let list = read("REQUIREMENTS.md");
    let (built, planned) = list.split_once("\n## Planned\n").unwrap();
    [built, planned].map(|part| {
        let lines = part.lines().filter_map(|line| line.strip_prefix("- "));
        let all: Vec<_> = lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        let distinct = BTreeSet::from_iter(all.clone());
        assert_eq!(
            all.len(),
            distinct.len(),
            "a number is there twice: {all:?}"
        );
        distinct
    })
}

/// A test names only requirements of the list that are not planned, and each of these has a test.
#[test]
fn each_requirement_has_a_test() {
    let [built, planned] = requirements();
    assert!(built.len() > 80, "the list was not understood: {built:?}");
    let both: Vec<_> = built.intersection(&planned).collect();
    assert!(both.is_empty(), "built and planned: {both:?}");
    let (mut tested, mut unknown) = (BTreeSet::new(), Vec::new());
    for ((file, test), doc) in tests() {
        for requirement in named(&doc) {
            if !built.contains(requirement) {
                unknown.push(format!("{requirement} of {file}::{test}"));
            }
            tested.insert(requirement.to_owned());
        }
    }
    assert!(
        unknown.is_empty(),
        "not in the list, or planned: {unknown:#?}"
    );
    let untested: Vec<_> = built.difference(&tested).collect();
    assert!(untested.is_empty(), "no test names {untested:?}");
}

/// Each test that the table of complaints names exists.
#[test]
fn each_test_that_the_complaints_name_exists() {
    let tests = tests();
    let table = read("COMPLAINTS.md");
    let named: BTreeSet<Name> = table
        .split('`')
        .filter_map(|word| word.split_once(".rs::"))
        .map(|(file, test)| (format!("{file}.rs"), test.to_owned()))
        .collect();
    assert!(named.len() > 50, "the table was not understood");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !tests.contains_key(name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Each row of both tables names a test.
#[test]
fn each_complaint_and_behaviour_has_a_test() {
    let table = read("COMPLAINTS.md");
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(char::is_numeric))
        .collect();
    assert_eq!(rows.len(), 15 + 25);
    for row in rows {
        assert!(row.contains(".rs::"), "{row}");
    }
}

/// R88 What the README says of the clients: each fits on one screen, with its error type.
#[test]
fn the_clients_of_the_examples_are_short() {
    for (file, most) in [("reqwest.rs", 59), ("json_client/api.rs", 60)] {
        let lines = read(&format!("../examples/{file}")).lines().count();
        assert!(lines <= most, "{file} has {lines} lines");
    }
    let lines = read("../examples/json_client/api.rs").lines().count();
    assert!(read("../README.md").contains(&format!("in {lines} lines")));
}
