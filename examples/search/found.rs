//! What a search found.

use crate::matching::by_rank;

/// How many files are listed.
pub(crate) const MOST_HITS: usize = 200;

/// A file with matching lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Below the folder that is searched; harmless to a terminal.
    pub(crate) path: String,
    /// Whether the path has the words too.
    pub(crate) in_path: bool,
    /// How many lines match.
    pub(crate) lines: usize,
    /// The number of the first, counted from 1, and what is shown of it.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The result of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The best first, no more than [`MOST_HITS`].
    pub(crate) hits: Vec<Hit>,
    /// How many lines match, and in how many files.
    pub(crate) lines: usize,
    pub(crate) files: usize,
}

impl Found {
    pub(crate) fn add(&mut self, hit: Hit) {
        self.lines += hit.lines;
        self.files += 1;
        self.hits.push(hit);
        // Twice as many at most, so that sorting is rare.
        if self.hits.len() >= 2 * MOST_HITS {
            self.rank();
        }
    }

    pub(crate) fn rank(&mut self) {
        self.hits.sort_by(by_rank);
        self.hits.truncate(MOST_HITS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_best_kept() {
        let mut found = Found::default();
        for lines in 1..=1000 {
            found.add(Hit {
                path: format!("{lines:04}"),
                in_path: false,
                lines,
                line: 1,
                text: String::new(),
            });
            assert!(found.hits.len() < 2 * MOST_HITS);
        }
        found.rank();
        assert_eq!((found.files, found.lines), (1000, 500_500));
        let best: Vec<_> = found.hits.iter().map(|hit| hit.lines).collect();
        assert_eq!(best, (801..=1000).rev().collect::<Vec<_>>());
    }
}
