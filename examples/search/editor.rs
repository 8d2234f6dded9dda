//! The line that is typed. It knows nothing of terminals.

use unicode_width::UnicodeWidthChar;

use crate::matching::is_harmless;

/// A line and a cursor in it, which stands on no mark that belongs to the character before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Editor {
    text: String,
    /// In bytes, always at a character's beginning.
    at: usize,
}

impl Editor {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor, and from it on.
    pub(crate) fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.at)
    }

    /// Types this text, as a key or all at once. Line ends become spaces; what else would do something to a terminal is
    /// left out.
    pub(crate) fn insert(&mut self, text: &str) {
        let text: String = text
            .chars()
            .map(|c| {
                if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') {
                    ' '
                } else {
                    c
                }
            })
            .filter(|c| is_harmless(*c))
            .collect();
        self.text.insert_str(self.at, &text);
        self.at += text.len();
    }

    /// Another text instead, with the cursor at its end.
    pub(crate) fn set(&mut self, text: &str) {
        self.clear();
        self.insert(text);
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.at = 0;
    }

    /// Backspace.
    pub(crate) fn delete_before(&mut self) {
        self.delete_from(self.before());
    }

    /// Delete.
    pub(crate) fn delete_after(&mut self) {
        self.text.drain(self.at..self.after());
    }

    /// Ctrl-W: the word before the cursor, and the space after it.
    pub(crate) fn delete_word(&mut self) {
        let before = self.text[..self.at].trim_end();
        let start = before
            .char_indices()
            .rfind(|(_, c)| c.is_whitespace())
            .map_or(0, |(at, c)| at + c.len_utf8());
        self.delete_from(start);
    }

    /// Ctrl-U: all before the cursor.
    pub(crate) fn delete_to_start(&mut self) {
        self.delete_from(0);
    }

    /// Ctrl-K: all from the cursor on.
    pub(crate) fn delete_to_end(&mut self) {
        self.text.truncate(self.at);
    }

    pub(crate) fn left(&mut self) {
        self.at = self.before();
    }

    pub(crate) fn right(&mut self) {
        self.at = self.after();
    }

    pub(crate) fn home(&mut self) {
        self.at = 0;
    }

    pub(crate) fn end(&mut self) {
        self.at = self.text.len();
    }

    fn delete_from(&mut self, start: usize) {
        self.text.drain(start..self.at);
        self.at = start;
    }

    /// Where the character before the cursor begins.
    fn before(&self) -> usize {
        let before = self.text[..self.at].char_indices();
        before
            .rev()
            .find(|(_, c)| !is_mark(*c))
            .map_or(0, |(at, _)| at)
    }

    /// Where the character at the cursor ends.
    fn after(&self) -> usize {
        let mut after = self.text[self.at..].char_indices().skip(1);
        let next = after.find(|(_, c)| !is_mark(*c));
        next.map_or(self.text.len(), |(at, _)| self.at + at)
    }
}

/// Whether it belongs to the character before it, as an accent does.
fn is_mark(c: char) -> bool {
    c.width() == Some(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The line with the cursor as `|`.
    fn shown(editor: &Editor) -> String {
        let (before, after) = editor.halves();
        format!("{before}|{after}")
    }

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert(text);
        editor
    }

    #[test]
    fn typing_and_moving() {
        let mut editor = typed("tkio");
        editor.home();
        editor.right();
        editor.insert("o");
        assert_eq!(shown(&editor), "to|kio");
        editor.left();
        editor.delete_after();
        editor.delete_before();
        assert_eq!(shown(&editor), "|kio");
        editor.delete_before();
        editor.left();
        editor.end();
        editor.right();
        editor.delete_after();
        assert_eq!(shown(&editor), "kio|");
    }

    #[test]
    fn words_and_halves() {
        let mut editor = typed("one two  three ");
        editor.delete_word();
        assert_eq!(shown(&editor), "one two  |");
        editor.delete_word();
        assert_eq!(shown(&editor), "one |");
        editor.delete_word();
        editor.delete_word();
        assert_eq!(shown(&editor), "|");
        editor.set("ab");
        editor.left();
        let mut other = editor.clone();
        editor.delete_to_start();
        assert_eq!(shown(&editor), "|b");
        other.delete_to_end();
        assert_eq!(shown(&other), "a|");
    }

    #[test]
    fn what_is_pasted_stays_one_line() {
        assert_eq!(shown(&typed("a\r\nb\u{1b}[31mc\td")), "a  b[31mc d|");
        assert_eq!(shown(&typed("a\u{2028}b\u{2029}c")), "a b c|");
    }

    #[test]
    fn what_is_pasted_does_not_turn_the_writing() {
        assert_eq!(shown(&typed("a\u{202e}b\u{200f}\u{61c}c")), "abc|");
    }

    #[test]
    fn an_accent_goes_with_its_letter() {
        let mut editor = typed("e\u{301}\u{302}x");
        editor.left();
        editor.left();
        assert_eq!(shown(&editor), "|e\u{301}\u{302}x");
        editor.right();
        editor.delete_before();
        assert_eq!(shown(&editor), "|x");
    }

    #[derive(Clone, Debug)]
    enum Key {
        Insert(String),
        Plain(u8),
    }

    proptest! {
        /// Whatever the keys, the cursor stands between two characters, and nothing in the line controls a terminal.
        #[test]
        fn any_keys(keys in prop::collection::vec(
            prop_oneof![any::<String>().prop_map(Key::Insert), (0u8..9).prop_map(Key::Plain)], 0..40)
        ) {
            let mut editor = Editor::default();
            for key in keys {
                match key {
                    Key::Insert(text) => editor.insert(&text),
                    Key::Plain(0) => editor.delete_before(),
                    Key::Plain(1) => editor.delete_after(),
                    Key::Plain(2) => editor.delete_word(),
                    Key::Plain(3) => editor.delete_to_start(),
                    Key::Plain(4) => editor.delete_to_end(),
                    Key::Plain(5) => editor.left(),
                    Key::Plain(6) => editor.right(),
                    Key::Plain(7) => editor.home(),
                    Key::Plain(_) => editor.end(),
                }
                prop_assert!(editor.text().is_char_boundary(editor.at));
                prop_assert!(editor.text().chars().all(is_harmless));
            }
        }
    }
}
