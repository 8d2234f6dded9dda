//! The table of complaints names tests that exist.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_test_that_the_table_names_exists() {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(member.join("COMPLAINTS.md")).unwrap();
    let named: BTreeSet<(&str, &str)> = table
        .split('`')
        .filter_map(|word| word.split_once(".rs::"))
        .collect();
    assert!(named.len() > 50, "the table was not understood");
    let missing: Vec<_> = named
        .into_iter()
        .filter(|(file, test)| {
            let file = member.join("tests").join(file).with_extension("rs");
            let source = fs::read_to_string(file).unwrap_or_default();
            !is_test(&source, test)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether there is a function of this name under a test attribute, or within a macro that makes tests.
fn is_test(source: &str, name: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else {
        return false;
    };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    attributes.contains("#[test]") || attributes.contains("#[tokio::test")
}

/// Each row of both tables names a test.
#[test]
fn every_row_is_covered() {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(member.join("COMPLAINTS.md")).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(char::is_numeric))
        .collect();
    assert_eq!(rows.len(), 15 + 25);
    for row in rows {
        assert!(row.contains(".rs::"), "{row}");
    }
}
