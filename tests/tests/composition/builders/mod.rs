//! A setter never changes what others use: each setter of each layer, after a clone, a handle and a
//! service.

mod checks;
mod pipelines;
mod rows;
mod source;
mod witness;

use std::collections::BTreeSet;

use self::{
    checks::Row,
    rows::rows,
    source::{Setter, setters},
    witness::in_time,
};

/// Rule 1: a setter on a layer that has a clone, a handle or a service already gives a layer with
/// state of its own. The others keep their state and their settings, and the new layer is as if it
/// had never been shared.
#[test]
fn a_setter_leaves_all_others_alone() {
    let mut wrong = Vec::new();
    for Row { setter, checks } in rows() {
        for (after, check) in checks {
            if let Err(problem) = in_time(check) {
                wrong.push(format!(
                    "{}::{} after {after}: {problem}",
                    setter.of, setter.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Rule 1: the table has a line for each setter that there is. What it leaves out is no setter.
#[test]
fn the_table_has_a_line_for_each_setter() {
    /// They end the building.
    const FINISH: [(&str, &str); 3] = [
        ("Dispatcher", "into_inner"),
        ("Pipeline", "build"),
        ("Scripted", "strict"),
    ];

    let known: BTreeSet<Setter> = rows().into_iter().map(|row| row.setter).collect();
    let mut found = setters();
    assert!(found.len() > 100, "the source was not understood");
    for (of, name) in FINISH {
        assert!(found.remove(&Setter::new(of, name)), "{of}::{name} is gone");
    }
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(missing.is_empty(), "no line for {missing:#?}");
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "no setter for {gone:#?}");
}
