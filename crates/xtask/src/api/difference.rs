//! What differs between two lists of lines, whatever their order.

use std::collections::BTreeMap;
use std::fmt;

/// The lines that only one of two lists has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those of the first.
    pub removed: Vec<String>,
    /// Those of the second.
    pub added: Vec<String>,
}

impl Difference {
    /// From the list `before` to the list `after`. A line that stands twice in one list and once in
    /// the other differs once.
    pub fn between<'a>(
        before: impl Iterator<Item = &'a str>,
        after: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut surplus = BTreeMap::<_, isize>::new();
        for line in before {
            *surplus.entry(line).or_default() -= 1;
        }
        for line in after {
            *surplus.entry(line).or_default() += 1;
        }
        let mut difference = Self::default();
        for (line, surplus) in surplus {
            let side = if surplus < 0 {
                &mut difference.removed
            } else {
                &mut difference.added
            };
            side.extend((0..surplus.unsigned_abs()).map(|_| line.to_owned()));
        }
        difference
    }

    /// Whether both lists have the same lines.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.removed {
            writeln!(f, "- {line}")?;
        }
        for line in &self.added {
            writeln!(f, "+ {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, after: &str) -> String {
        Difference::between(before.lines(), after.lines()).to_string()
    }

    #[test]
    fn lists_of_the_same_lines_do_not_differ() {
        assert!(Difference::between("a\nb\nb".lines(), "b\na\nb".lines()).is_empty());
    }

    #[test]
    fn removed_lines_come_before_added_ones() {
        assert_eq!(between("a\nb\nc", "b\nd"), "- a\n- c\n+ d\n");
    }

    #[test]
    fn repeated_lines_are_counted() {
        assert_eq!(between("a\na\na", "a"), "- a\n- a\n");
        assert_eq!(between("", "a\na"), "+ a\n+ a\n");
    }
}
