//! Whether a text matches, what is shown of it, and which of two matches comes first.

use std::cmp::{Ordering, Reverse};

use crate::found::Hit;

/// How many characters of a matching line are kept.
const SHOWN: usize = 160;
/// How many of them come before the match, where the line is longer.
const BEFORE: usize = 40;

/// In lower case, each character by itself, so that a part of a text becomes a part of the result.
pub(crate) fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether this text in lower case has all these words.
pub(crate) fn has_all(lowered: &str, words: &[String]) -> bool {
    words.iter().all(|word| lowered.contains(word))
}

/// What is shown of a matching line: one line, harmless to a terminal, around the first of the words.
pub(crate) fn excerpt(line: &str, words: &[String]) -> String {
    let line = line.trim();
    let lowered = lowercase(line);
    let first = words.iter().filter_map(|word| lowered.find(word)).min();
    // A few letters become two in lower case: then it is a little off.
    let before = lowered[..first.unwrap_or(0)].chars().count();
    let total = line.chars().count();
    let skip = if total <= SHOWN {
        0
    } else {
        before.saturating_sub(BEFORE).min(total - SHOWN)
    };
    let cut: String = line.chars().skip(skip).take(SHOWN).collect();
    harmless(&cut)
}

/// Whether it neither moves the cursor, changes the colours, begins a line nor turns the direction of the writing.
pub(crate) fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The same text with a replacement for each character that is not harmless.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if is_harmless(c) => c,
            _ => '\u{fffd}',
        })
        .collect()
}

/// Best first: what has the words in its path, what has them in more lines, and then by path.
pub(crate) fn by_rank(one: &Hit, other: &Hit) -> Ordering {
    let key = |hit: &Hit| (Reverse(hit.in_path), Reverse(hit.lines));
    key(one)
        .cmp(&key(other))
        .then_with(|| one.path.cmp(&other.path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| lowercase(word)).collect()
    }

    #[test]
    fn all_words_have_to_be_there_in_any_case_and_order() {
        let lowered = lowercase("A Tokio runtime");
        assert!(has_all(&lowered, &words(&["RUN", "tokio"])));
        assert!(!has_all(&lowered, &words(&["tokio", "async"])));
    }

    #[test]
    fn a_long_line_is_cut_around_the_match() {
        let line = format!("{}needle{}", "x".repeat(500), "y".repeat(500));
        let shown = excerpt(&line, &words(&["needle"]));
        assert_eq!(shown.chars().count(), SHOWN);
        assert_eq!(shown.find("needle"), Some(BEFORE));
    }

    #[test]
    fn escape_sequences_do_not_get_through() {
        assert_eq!(
            excerpt("a\u{1b}[2J\tb\u{202e}c", &words(&["a"])),
            "a\u{fffd}[2J b\u{fffd}c"
        );
    }

    #[test]
    fn nothing_turns_the_writing_or_begins_a_line() {
        let turning = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for c in turning.chars().chain("\u{85}\u{2028}\u{2029}".chars()) {
            assert_eq!(harmless(&c.to_string()), "\u{fffd}", "{c:?}");
        }
        // What joins letters, marks and pictures stays.
        let text = "a\u{301} \u{200c}\u{200d}\u{fe0f} \u{5d0}\u{a0}\u{202f}";
        assert_eq!(harmless(text), text);
    }

    #[test]
    fn the_path_counts_most_and_then_the_lines() {
        let hit = |path: &str, in_path, lines| Hit {
            path: path.to_owned(),
            in_path,
            lines,
            line: 1,
            text: String::new(),
        };
        let mut hits = [
            hit("b", false, 2),
            hit("d", false, 9),
            hit("c", true, 1),
            hit("a", false, 2),
        ];
        hits.sort_by(by_rank);
        assert_eq!(hits.map(|hit| hit.path), ["c", "d", "a", "b"]);
    }

    proptest! {
        /// Whatever part of a line is asked for, in lower case or upper, it is found.
        #[test]
        fn a_part_of_a_line_is_found(line in "\\PC{1,40}", from in 0usize..40, len in 1usize..40) {
            let part: String = line.chars().skip(from).take(len).collect();
            prop_assert!(has_all(&lowercase(&line), &[lowercase(&part)]));
        }

        /// Whatever the line, what is shown is short and harmless.
        #[test]
        fn an_excerpt_is_short_and_harmless(line in any::<String>(), word in any::<String>()) {
            let shown = excerpt(&line, &[lowercase(&word)]);
            prop_assert!(shown.chars().count() <= SHOWN);
            prop_assert!(shown.chars().all(is_harmless));
        }
    }
}
