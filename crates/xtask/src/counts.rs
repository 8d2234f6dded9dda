//! Counting results from what the test harness prints.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests marked as ignored.
    pub skipped: u64,
}

impl Counts {
    /// The counts in a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`; none in any other
    /// line.
    pub fn from_line(line: &str) -> Option<Self> {
        let (_verdict, results) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut counts = Self::default();
        for result in results.split(';') {
            match result.trim().split_once(' ') {
                Some((number, "passed")) => counts.passed = number.parse().ok()?,
                Some((number, "failed")) => counts.failed = number.parse().ok()?,
                Some((number, "ignored")) => counts.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(counts)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: Counts = Counts {
        passed: 1,
        failed: 2,
        skipped: 3,
    };

    #[test]
    fn reads_a_line_of_success() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 4 measured; \
                    5 filtered out; finished in 0.02s";
        let expected = Counts {
            passed: 12,
            failed: 0,
            skipped: 3,
        };
        assert_eq!(Counts::from_line(line), Some(expected));
    }

    #[test]
    fn reads_a_line_of_failure() {
        let line = "test result: FAILED. 1 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::from_line(line), Some(ONE_OF_EACH));
    }

    #[test]
    fn reads_a_coloured_line() {
        let line = "test result: \u{1b}[31mFAILED\u{1b}[m. 1 passed; 2 failed; 3 ignored";
        assert_eq!(Counts::from_line(line), Some(ONE_OF_EACH));
    }

    #[test]
    fn passes_over_other_lines() {
        for line in [
            "",
            "running 3 tests",
            "test counts::tests::adds_up ... ok",
            "test result: ok",
            "the test result: ok. 1 passed; 0 failed; 0 ignored",
            "test result: ok. many passed; 0 failed; 0 ignored",
        ] {
            assert_eq!(Counts::from_line(line), None, "{line:?}");
        }
    }

    #[test]
    fn adds_up() {
        let mut counts = ONE_OF_EACH;
        counts += ONE_OF_EACH;
        assert_eq!(counts.to_string(), "2 passed, 4 failed, 6 skipped");
    }

    #[test]
    fn does_not_mention_skipped_tests_when_there_are_none() {
        let counts = Counts {
            skipped: 0,
            ..ONE_OF_EACH
        };
        assert_eq!(counts.to_string(), "1 passed, 2 failed");
    }
}
