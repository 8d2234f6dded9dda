//! Where everything stands on a screen of any size. It knows nothing of terminals.

use unicode_width::UnicodeWidthChar;

use crate::{editor::Editor, found::Hit};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Bold,
    Dim,
}

/// What is to be seen.
pub(crate) struct View<'a> {
    pub(crate) editor: &'a Editor,
    pub(crate) status: &'a str,
    pub(crate) hits: &'a [Hit],
    /// How many hits are above the top of the list.
    pub(crate) skipped: usize,
    /// How the last searches ended, the latest first.
    pub(crate) endings: &'a [String],
}

/// A screen's lines from the top, none wider than it, and the cursor's column in the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) lines: Vec<(Look, String)>,
    pub(crate) column: u16,
}

const PROMPT: &str = "> ";

/// Lays it out: the line that is typed, the status, the list, and at the bottom how the last searches ended.
pub(crate) fn frame(view: &View<'_>, width: u16, height: u16) -> Frame {
    let (width, height) = (usize::from(width), usize::from(height));
    if width == 0 || height == 0 {
        return Frame::default();
    }
    let (input, column) = input(view.editor, width);
    let mut lines = vec![(Look::Bold, input)];
    if height > 1 {
        lines.push((Look::Dim, fit(view.status, width)));
    }
    let list = list_height(height);
    let hits = view.hits.iter().skip(view.skipped).take(list);
    lines.extend(hits.map(|hit| {
        let text = format!("{}:{}: {}", hit.path, hit.line, hit.text);
        (Look::Plain, fit(&text, width))
    }));
    let endings = height.saturating_sub(2 + list);
    if endings > 0 {
        lines.resize(2 + list, (Look::Plain, String::new()));
        let latest = view.endings.iter().take(endings);
        lines.extend(latest.map(|ending| (Look::Dim, fit(ending, width))));
    }
    Frame {
        lines,
        // It fits, as it is within the width.
        column: u16::try_from(column).unwrap_or(u16::MAX),
    }
}

/// How many hits are listed on a screen of this height.
pub(crate) fn list_height(height: usize) -> usize {
    let below = height.saturating_sub(2);
    below - below.min(height / 4)
}

/// The part of the line around the cursor that fits, and the cursor's column.
fn input(editor: &Editor, width: usize) -> (String, usize) {
    let prompt = if width > 2 * PROMPT.len() { PROMPT } else { "" };
    let (before, after) = editor.halves();
    // One column is the cursor's own.
    let room = width - prompt.len() - 1;
    let mut start = before.len();
    let mut used = 0;
    for (at, c) in before.char_indices().rev() {
        used += columns(c);
        if used > room {
            break;
        }
        start = at;
    }
    // A mark whose letter had no room left.
    let seen = before[start..].trim_start_matches(|c| columns(c) == 0);
    let column = prompt.len() + seen.chars().map(columns).sum::<usize>();
    let mut text = format!("{prompt}{seen}");
    push_fitting(&mut text, after, width - column);
    (text, column)
}

/// The text, cut off with an ellipsis if it is too wide.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let wide = text.chars().map(columns).sum::<usize>() > width;
    let mut fitting = String::new();
    push_fitting(&mut fitting, text, width - usize::from(wide && width > 0));
    if wide && width > 0 {
        fitting.push('…');
    }
    fitting
}

fn push_fitting(fitting: &mut String, text: &str, width: usize) {
    let mut used = 0;
    for c in text.chars() {
        used += columns(c);
        if used > width {
            return;
        }
        fitting.push(c);
    }
}

/// How many columns terminals give it: they go character by character.
fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hit(number: usize) -> Hit {
        Hit {
            path: format!("file{number}"),
            in_path: false,
            lines: 1,
            line: number,
            text: "text".to_owned(),
        }
    }

    fn lines(height: u16, skipped: usize) -> Vec<String> {
        let mut editor = Editor::default();
        editor.insert("query");
        let hits: Vec<_> = (1..=20).map(hit).collect();
        let endings = ["latest", "before"].map(str::to_owned);
        let view = View {
            editor: &editor,
            status: "status",
            hits: &hits,
            skipped,
            endings: &endings,
        };
        let frame = frame(&view, 12, height);
        assert_eq!(frame.column, 7);
        frame.lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn everything_has_its_place() {
        assert_eq!(
            lines(8, 3),
            [
                "> query",
                "status",
                "file4:4: te…",
                "file5:5: te…",
                "file6:6: te…",
                "file7:7: te…",
                "latest",
                "before"
            ]
        );
    }

    #[test]
    fn a_low_screen_shows_what_matters_most() {
        assert_eq!(lines(1, 0), ["> query"]);
        assert_eq!(lines(2, 0), ["> query", "status"]);
        assert_eq!(lines(3, 0), ["> query", "status", "file1:1: te…"]);
    }

    #[test]
    fn a_long_line_moves_along_with_the_cursor() {
        let mut editor = Editor::default();
        editor.insert("abcdefghij");
        assert_eq!(input(&editor, 8), ("> fghij".to_owned(), 7));
        editor.home();
        assert_eq!(input(&editor, 8), ("> abcdef".to_owned(), 2));
        editor.set("日本語");
        assert_eq!(input(&editor, 8), ("> 本語".to_owned(), 6));
        assert_eq!(input(&editor, 1), (String::new(), 0));
    }

    #[test]
    fn wide_characters_are_not_cut_in_half() {
        assert_eq!(fit("日本", 4), "日本");
        assert_eq!(fit("日本", 3), "日…");
        assert_eq!(fit("日本", 2), "…");
        assert_eq!(fit("日本", 0), "");
    }

    proptest! {
        /// Whatever is typed and found, no line is wider than the screen or below it, and the cursor is on it.
        #[test]
        fn nothing_is_outside(
            text in any::<String>(),
            lefts in 0usize..10,
            other in "\\PC*",
            count in 0usize..30,
            skipped in 0usize..40,
            (width, height) in (0u16..40, 0u16..20),
        ) {
            let mut editor = Editor::default();
            editor.insert(&text);
            (0..lefts).for_each(|_| editor.left());
            let hits: Vec<_> = (0..count).map(|at| Hit { text: other.clone(), ..hit(at) }).collect();
            let endings = vec![other.clone(); count];
            let view = View { editor: &editor, status: &other, hits: &hits, skipped, endings: &endings };
            let frame = frame(&view, width, height);
            prop_assert!(frame.lines.len() <= usize::from(height));
            for (_, line) in &frame.lines {
                prop_assert!(line.chars().map(columns).sum::<usize>() <= usize::from(width));
            }
            prop_assert!(frame.column < width.max(1));
        }
    }
}
