//! The directives of `Cache-Control`: RFC 9111, section 5.2. Pure.

use http::{HeaderMap, header::CACHE_CONTROL};

/// A directive: its name in any case, and its argument without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directive<'a> {
    name: &'a str,
    pub(super) argument: Option<&'a str>,
}

impl Directive<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// A number of seconds. `None` if it is not one.
    pub(super) fn seconds(&self) -> Option<u64> {
        let digits = self.argument?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().unwrap_or(u64::MAX))
    }
}

/// All directives of a message. `None` if a field is not valid, so that a directive may be missing.
pub(super) fn directives(headers: &HeaderMap) -> Option<Vec<Directive<'_>>> {
    let mut found = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        add_directives(value.to_str().ok()?, &mut found)?;
    }
    Some(found)
}

fn add_directives<'a>(mut rest: &'a str, found: &mut Vec<Directive<'a>>) -> Option<()> {
    loop {
        let (member, next) = split_member(rest)?;
        let member = trim(member);
        // Empty members are allowed: RFC 9110, section 5.6.1.2.
        if !member.is_empty() {
            found.push(directive(member)?);
        }
        match next {
            Some(next) => rest = next,
            None => return Some(()),
        }
    }
}

/// The list up to a comma outside quotes, and what follows the comma. `None` if a quote is open.
fn split_member(list: &str) -> Option<(&str, Option<&str>)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return Some((&list[..at], Some(&list[at + 1..]))),
            _ => {}
        }
    }
    (!is_quoted).then_some((list, None))
}

fn directive(member: &str) -> Option<Directive<'_>> {
    let (name, argument) = match member.split_once('=') {
        Some((name, argument)) => (name, Some(argument)),
        None => (member, None),
    };
    let name = trim(name);
    let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
    let argument = match argument {
        Some(argument) => Some(unquoted(trim(argument))?),
        None => None,
    };
    is_token.then_some(Directive { name, argument })
}

/// The text of a token or of a quoted string, as it is written. `None` if a quote is anywhere else:
/// `split_member` may then have split the list at the wrong commas.
fn unquoted(argument: &str) -> Option<&str> {
    let Some(rest) = argument.strip_prefix('"') else {
        return (!argument.contains('"')).then_some(argument);
    };
    let inside = rest.strip_suffix('"')?;
    let mut is_escaped = false;
    for byte in inside.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return None,
            _ => {}
        }
    }
    (!is_escaped).then_some(inside)
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(field).unwrap());
        }
        headers
    }

    fn shown(fields: &[&str]) -> Option<String> {
        let headers = of(fields);
        let shown: Vec<_> = directives(&headers)?
            .into_iter()
            .map(|directive| match directive.argument {
                Some(argument) => format!("{}={argument}", directive.name),
                None => directive.name.to_owned(),
            })
            .collect();
        Some(shown.join(" "))
    }

    #[test]
    fn valid_and_invalid_fields() {
        for (fields, directives) in [
            (&["no-store"] as &[_], Some("no-store")),
            (
                &["public, max-age=60", "no-cache"],
                Some("public max-age=60 no-cache"),
            ),
            (
                &[r#"private="set-cookie, no-store" , x"#],
                Some("private=set-cookie, no-store x"),
            ),
            (&[r#"x="a\", no-store", y"#], Some(r#"x=a\", no-store y"#)),
            (&[" , ,max-age = \"5\",, "], Some("max-age=5")),
            (&[""], Some("")),
            (&[], Some("")),
            (&[r#"x="no-store"#], None),
            (&[r#"x=a", no-store, y=""#], None),
            (&[r#"x="a"b", no-store, y=""#], None),
            (&[r#"x=\", no-store, y=""#], None),
            (&[r#"x="a"b"#], None),
            (&[r#"x=""#], None),
            (&["no store"], None),
            (&["=5"], None),
        ] {
            assert_eq!(shown(fields).as_deref(), directives, "{fields:?}");
        }
    }

    #[test]
    fn seconds_are_digits() {
        for (text, seconds) in [
            ("max-age=5", Some(5)),
            ("max-age=\"5\"", Some(5)),
            ("max-age=99999999999999999999999", Some(u64::MAX)),
            ("max-age=-1", None),
            ("max-age=1.5", None),
            ("max-age=", None),
            ("max-age", None),
        ] {
            let headers = of(&[text]);
            assert_eq!(
                directives(&headers).unwrap()[0].seconds(),
                seconds,
                "{text}"
            );
        }
    }

    proptest! {
        /// No field makes the parser panic. A token that stands alone is found, whatever stands
        /// around it, unless the field is not valid.
        #[test]
        fn a_directive_is_not_lost(before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
            let alone = of(&[&before, "no-store", &after]);
            if let Some(found) = directives(&alone) {
                prop_assert!(found.iter().any(|directive| directive.is("No-Store")));
            }
        }
    }
}
