//! `describe_error`: the text of an error and its sources, bounded, without the secrets in URLs.

use std::{
    error::Error,
    fmt::{self, Display, Write},
    sync::Arc,
};

/// The maximum number of sources in the text.
const MAX_CAUSES: usize = 16;
/// The maximum number of sources that are read: a chain may be infinite. Many may have the same text:
/// each layer around a reqwest client adds two to the error of a response body.
const MAX_SOURCES: usize = 128;
/// The maximum number of bytes read from an error's `Display`.
const MAX_READ: usize = 8 * 1024;
/// The maximum length of the text in bytes.
const MAX_LENGTH: usize = 1024;

/// The text of an error and its sources, separated by colons.
///
/// Events and log records use this text.
///
/// - It is at most 1 KiB long and includes at most 16 sources.
/// - A source is skipped if the text before it already ends with it. At most 128 sources are
///   read.
/// - URLs lose their user information, query and fragment, which often contain secrets.
///
/// Use it in [`Classify::describe`](crate::Classify::describe) for your own error type: the layers
/// know only the `Display` of such a type, not its sources.
///
/// ```
/// use tower_keep::describe_error;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("cannot read the report")]
/// struct Unreadable(#[source] std::io::Error);
///
/// let refused = std::io::Error::other("refused by https://me:secret@example.com/a?token=abc");
/// assert_eq!(
///     describe_error(&Unreadable(refused)),
///     "cannot read the report: refused by https://example.com/a",
/// );
/// ```
#[must_use]
pub fn describe_error(error: &(dyn Error + 'static)) -> String {
    let mut text = Bounded::new();
    let mut next = Some(error);
    let mut shown = 0;
    for _ in 0..=MAX_SOURCES {
        let Some(error) = next.filter(|_| shown <= MAX_CAUSES && !text.is_full) else {
            break;
        };
        let end = text.text.len();
        if end > 0 {
            text.push(": ");
        }
        let start = text.text.len();
        text.push_error(error);
        let (before, cause) = (&text.text[..end], &text.text[start..]);
        if cause.is_empty() || before.ends_with(cause) {
            text.text.truncate(end);
        } else {
            shown += 1;
        }
        next = error.source();
    }
    text.finish()
}

/// A user's text, cut to the limit of an event.
pub(crate) fn bounded_text(text: &str) -> &str {
    &text[..text.floor_char_boundary_at(MAX_LENGTH)]
}

/// The maximum length of a job's external id in bytes. Each event of the job carries the id, which
/// may come from an untrusted client.
const MAX_ID: usize = 256;

/// A job's external id, cut to its limit.
pub(crate) fn bounded_id(id: &str) -> &str {
    &id[..id.floor_char_boundary_at(MAX_ID)]
}

/// The text of an error that is only known to be `Display`.
pub(crate) fn text_of<E: Display>(error: &E) -> Arc<str> {
    let mut text = Bounded::new();
    // Types that hide their sources, such as `anyhow::Error`, add them to this form.
    text.push(format_args!("{error:#}"));
    text.finish().into()
}

/// Whether a [description](describe_error) begins with the [text](text_of) of this error.
///
/// Each layer that an error passes calls this. So the text is built only if a direct comparison
/// fails, as for a cut text or a redacted URL.
pub(crate) fn begins_with<E: Display>(description: &str, error: &E) -> bool {
    let mut left = Left(description);
    write!(left, "{error:#}").is_ok() || description.starts_with(&*text_of(error))
}

/// The rest of a text, after the written parts were found at its beginning.
struct Left<'a>(&'a str);

impl Write for Left<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Formats a text that may contain user data, cut to the limit of an event.
pub(crate) fn bounded(text: fmt::Arguments<'_>) -> Arc<str> {
    let mut bounded = Bounded::new();
    bounded.push(text);
    bounded.finish().into()
}

/// A text of at most [`MAX_READ`] bytes.
struct Bounded {
    text: String,
    is_full: bool,
}

impl Bounded {
    /// With capacity for most errors, which are written in many parts.
    fn new() -> Self {
        Self {
            text: String::with_capacity(128),
            is_full: false,
        }
    }

    fn push(&mut self, text: impl Display) {
        // Fails if the text is full, or if the `Display` fails. The text so far is kept.
        let _ = write!(self, "{text}");
    }

    fn push_error(&mut self, error: &(dyn Error + 'static)) {
        #[cfg(feature = "hyper-1")]
        if let Some(error) = go_away(error) {
            // Its text contains the debug data of the server, which may be secret: RFC 9113, 6.8.
            let reason = error.reason().unwrap_or(h2::Reason::NO_ERROR);
            let reason = reason.description();
            return self.push(format_args!("connection error: {reason}"));
        }
        self.push(error);
    }

    fn finish(mut self) -> String {
        if self.is_full {
            // In a cut URL, the secrets cannot be recognized: drop the last word.
            let last = self.text.rfind(char::is_whitespace).unwrap_or(0);
            self.text.truncate(last);
        }
        let mut text = match self.text.contains("://") {
            true => redact_urls(&self.text),
            false => self.text,
        };
        if self.is_full || text.len() > MAX_LENGTH {
            text.truncate(text.floor_char_boundary_at(MAX_LENGTH - '…'.len_utf8()));
            text.push('…');
        }
        text
    }
}

/// A connection error of HTTP/2, also inside an `io::Error`, which shows its text.
#[cfg(feature = "hyper-1")]
fn go_away<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a h2::Error> {
    let wrapped = (error.downcast_ref::<std::io::Error>()).and_then(std::io::Error::get_ref);
    let error = match wrapped {
        Some(wrapped) => wrapped as &(dyn Error + 'static),
        None => error,
    };
    error
        .downcast_ref()
        .filter(|error: &&h2::Error| error.is_go_away())
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_READ - self.text.len();
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        self.text
            .push_str(&text[..text.floor_char_boundary_at(room)]);
        self.is_full = true;
        Err(fmt::Error)
    }
}

trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, index: usize) -> usize;
}

impl FloorCharBoundary for str {
    /// The last boundary of characters up to `index`.
    fn floor_char_boundary_at(&self, index: usize) -> usize {
        (0..=index.min(self.len()))
            .rev()
            .find(|&index| self.is_char_boundary(index))
            .unwrap_or(0)
    }
}

/// Removes user information, query and fragment from every `scheme://..` in the text. The end of a
/// URL is a guess, which rather removes too much than too little.
fn redact_urls(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        redacted.push_str(before);
        let has_scheme = before[..at].ends_with(is_scheme);
        rest = if has_scheme {
            redact_url(after, &mut redacted)
        } else {
            after
        };
    }
    redacted.push_str(rest);
    redacted
}

/// `text` starts with the authority of a URL. Pushes the public parts of the URL, and returns the
/// text after it.
fn redact_url<'a>(text: &'a str, redacted: &mut String) -> &'a str {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let url = &text[..end];
    let authority = &url[..url.find(['/', '?', '#', '\\']).unwrap_or(end)];
    let host = match authority.rfind('@') {
        Some(at) => at + 1,
        // For example a password with an unescaped slash.
        None if has_odd_port(authority) => url.rfind('@').map_or(0, |at| at + 1),
        None => 0,
    };
    let url = &url[host..];
    let mut shown = url
        .find(['?', '#', '"', '<', '>', '`'])
        .unwrap_or(url.len());
    if let Some(next) = url[..shown].find("://") {
        shown = url[..next].trim_end_matches(is_scheme).len();
    }
    redacted.push_str(&url[..shown]);
    let hidden = &url[shown..];
    let hidden = if hidden.starts_with(['?', '#']) {
        let hidden = &hidden[..hidden.find(['"', '<', '>', '`']).unwrap_or(hidden.len())];
        // Trailing brackets and punctuation belong to the sentence.
        hidden.trim_end_matches([')', ']', '}', '\'', ',', '.', ';', ':', '!'])
    } else {
        ""
    };
    &text[host + shown + hidden.len()..]
}

fn is_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Whether the part after the host's colon is not a port.
fn has_odd_port(authority: &str) -> bool {
    let port = match authority.rsplit_once(':') {
        Some((_, port)) => port,
        None => return false,
    };
    !port.ends_with(']') && port.contains(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BoxError;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: String,
        source: Option<BoxError>,
    }

    fn caused(text: &str, source: impl Into<BoxError>) -> BoxError {
        Box::new(Caused {
            text: text.to_owned(),
            source: Some(source.into()),
        })
    }

    /// R75 Each source follows its error, once.
    #[test]
    fn sources_follow_and_are_not_repeated() {
        let error = caused("cannot send", caused("connect: refused", "refused"));
        assert_eq!(describe_error(&*error), "cannot send: connect: refused");
        let error = caused("", caused("b", "c"));
        assert_eq!(describe_error(&*error), "b: c");
        assert_eq!(&*text_of(&caused("a", "b")), "a");
    }

    /// `begins_with` agrees with `text_of`, even for a cut text or a redacted URL.
    #[test]
    fn a_description_begins_with_its_own_error() {
        let long = "word ".repeat(400);
        let errors = [
            "refused",
            "",
            "a",
            "see https://me:secret@host/a?b=c now",
            &long,
        ];
        for outer in errors {
            let description = describe_error(&*caused(outer, "the cause"));
            for other in errors {
                let by_text = description.starts_with(&*text_of(&other));
                assert_eq!(
                    begins_with(&description, &other),
                    by_text,
                    "{outer} {other}"
                );
            }
        }
    }

    /// R75 A text is bounded, for any number and length of sources.
    #[test]
    fn the_text_is_bounded() {
        let error: BoxError = "ä".repeat(1 << 20).into();
        let text = text_of(&error);
        assert!(text.len() <= MAX_LENGTH, "{}", text.len());
        assert!(text.ends_with('…'));

        let mut error: BoxError = "0".into();
        for n in 1..100 {
            error = caused(&n.to_string(), error);
        }
        let text = describe_error(&*error);
        assert!(text.starts_with("99: 98: 97"), "{text}");
        assert!(text.ends_with("84: 83"), "{text}");
    }

    /// R75 Sources that are not shown do not hide the cause, as below many layers around reqwest. A
    /// chain without an end has a text, too.
    #[test]
    fn sources_of_equal_texts_do_not_count() {
        let mut error = caused("decode", "reset");
        for _ in 0..40 {
            error = caused("decode", error);
        }
        assert_eq!(describe_error(&*error), "decode: reset");

        #[derive(Debug)]
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl Error for Endless {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        assert_eq!(describe_error(&Endless), "again");
    }

    /// R75 A text of exactly the maximum length is complete. A longer text is cut at a character
    /// and ends with an ellipsis.
    #[test]
    fn the_longest_text_is_whole() {
        for length in [MAX_LENGTH, MAX_LENGTH + 1, MAX_LENGTH + 700] {
            let text = text_of(&"a".repeat(length));
            let cut = usize::from(length > MAX_LENGTH);
            assert_eq!(text.len(), MAX_LENGTH, "{length}");
            assert_eq!(text.matches('…').count(), cut, "{length}");
            assert_eq!(bounded(format_args!("{}", "a".repeat(length))), text);
        }
        // An odd number of bytes before two-byte characters.
        let text = format!("a{}", "ä".repeat(MAX_LENGTH));
        assert_eq!(
            text_of(&text).matches('ä').count(),
            (MAX_LENGTH - 1 - 3) / 2
        );
        assert_eq!(bounded_text(&text).len(), MAX_LENGTH - 1);
        assert_eq!(bounded_text("short"), "short");
    }

    /// R75 A URL that is cut inside its password does not show the password.
    #[test]
    fn a_cut_url_shows_no_secret() {
        for length in MAX_READ - 40..MAX_READ {
            let text = format!("{} postgres://me:secret@host/db", "a".repeat(length));
            assert!(!text_of(&text).contains("secret"), "{length}");
        }
    }

    /// R75 URLs lose their user information, query and fragment, and nothing else.
    #[test]
    fn urls_lose_their_secrets() {
        for (text, expected) in [
            ("no url: a//b?c", "no url: a//b?c"),
            ("a ://b?c", "a ://b?c"),
            ("for url (http://h/p?token=s)", "for url (http://h/p)"),
            (
                "(https://u:p@h:1/p?a=(s)&b=s): refused",
                "(https://h:1/p): refused",
            ),
            ("https://h/p#access_token=s, twice", "https://h/p, twice"),
            ("\"HTTP://u@h/?s\" is bad", "\"HTTP://h/\" is bad"),
            (
                "postgres://me:s/s?s#s@host/db is bad",
                "postgres://host/db is bad",
            ),
            ("redis://:p@[::1]:6379/0?s", "redis://[::1]:6379/0"),
            ("http://[::1]/@user", "http://[::1]/@user"),
            ("https://h/@scope/pkg", "https://h/@scope/pkg"),
            ("http://a@b@h/", "http://h/"),
            (
                "[\"http://h/?s\",\"http://u:p@h/\"]",
                "[\"http://h/\",\"http://h/\"]",
            ),
            ("['http://h/','http://u:p@h/']", "['http://h/','http://h/']"),
            ("http://h/via/ftp://u:p@h/x", "http://h/via/ftp://h/x"),
            ("http://h?s", "http://h"),
            ("http://", "http://"),
            ("://", "://"),
            ("ä://u:p@h", "ä://u:p@h"),
            ("git+ssh://u:p@h/ä?ß.", "git+ssh://h/ä."),
            ("http://h/\nhttp://u:p@h/", "http://h/\nhttp://h/"),
        ] {
            assert_eq!(redact_urls(text), expected, "{text}");
        }
    }
}
