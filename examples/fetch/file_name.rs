//! From a URL to the name of a file that is safe to make.

use std::collections::HashSet;

/// Of 255 bytes that common file systems allow, leaving room for a number and a suffix such as
/// `.part`.
const LONGEST: usize = 200;

/// Device names that Windows gives a meaning of their own, whatever follows the first dot.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The file name for a URL's path, as it stands in the URL: always one plain name, never a path.
fn file_name(url_path: &str) -> String {
    let last = url_path.rsplit('/').next().unwrap_or_default();
    // Made safe after decoding, or an encoded slash would get through.
    let name: String = decode(last)
        .chars()
        .map(|c| if is_safe(c) { c } else { '_' })
        .collect();
    // Windows drops dots and spaces at the end; a dot in front would hide the file.
    let name = name.trim_end_matches(['.', ' ']).trim_start();
    let name = name.trim_start_matches('.');
    if name.is_empty() {
        return "index.html".to_owned();
    }
    let device = name.split('.').next().unwrap_or_default();
    let name = if is_device(&device.to_lowercase()) {
        format!("_{name}")
    } else {
        name.to_owned()
    };
    let (stem, extension) = split(&name);
    with_suffix(stem, "", extension)
}

fn is_safe(c: char) -> bool {
    !c.is_control() && !"/\\:*?\"<>|".contains(c)
}

fn is_device(name: &str) -> bool {
    let port = |rest: &str| matches!(rest.as_bytes(), [b'0'..=b'9']);
    RESERVED.contains(&name)
        || name.strip_prefix("com").is_some_and(port)
        || name.strip_prefix("lpt").is_some_and(port)
}

/// Undoes percent-encoding; what is not a valid escape stays as it is.
fn decode(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        if let (b'%', (Some(high), Some(low))) = (byte, escape) {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The name without its extension, and the extension with its dot. A long one is no extension.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => name.split_at(dot),
        _ => (name, ""),
    }
}

/// The three together, with the stem cut so that they are no longer than allowed.
fn with_suffix(stem: &str, suffix: &str, extension: &str) -> String {
    let mut room = LONGEST - suffix.len() - extension.len();
    if stem.len() <= room {
        return format!("{stem}{suffix}{extension}");
    }
    while !stem.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{suffix}{extension}", &stem[..room])
}

/// Gives out names, each once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// What the unfinished file of this name is called.
    pub(crate) fn part(name: &str) -> String {
        format!("{name}.part")
    }

    /// The file name for this URL path, with a number where another URL has the name already.
    pub(crate) fn claim(&mut self, url_path: &str) -> String {
        let name = file_name(url_path);
        if self.take(&name) {
            return name;
        }
        let (stem, extension) = split(&name);
        let mut number = 2_u64;
        loop {
            let name = with_suffix(stem, &format!("-{number}"), extension);
            if self.take(&name) {
                return name;
            }
            number += 1;
        }
    }

    /// Takes the name and that of its unfinished file, which a URL may well end in too.
    fn take(&mut self, name: &str) -> bool {
        // Some file systems do not tell `A` from `a`.
        let name = name.to_lowercase();
        let part = Self::part(&name);
        if self.taken.contains(&name) || self.taken.contains(&part) {
            return false;
        }
        self.taken.insert(part);
        self.taken.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay() {
        assert_eq!(file_name("/a/b/photo.jpeg"), "photo.jpeg");
        assert_eq!(file_name("/a/report%202024.pdf"), "report 2024.pdf");
        assert_eq!(file_name("/caf%C3%A9.txt"), "café.txt");
        assert_eq!(file_name("/100%.txt"), "100%.txt");
        assert_eq!(file_name("/a%2"), "a%2");
        assert_eq!(file_name("/archive.tar.gz"), "archive.tar.gz");
    }

    #[test]
    fn nothing_becomes_an_index() {
        for path in [
            "", "/", "/a/", "/.", "/..", "/...", "/%2e%2e", "/%20", "/. .",
        ] {
            assert_eq!(file_name(path), "index.html", "{path:?}");
        }
    }

    #[test]
    fn no_name_leaves_the_folder() {
        for path in [
            "/..%2f..%2fetc%2fpasswd",
            "/%2Fetc%2Fpasswd",
            "/..%5c..%5cboot.ini",
            "/a%00b.txt",
            "/C:evil",
            "/%2e%2e%2f",
            "/.ssh",
            "/a%0Ab",
        ] {
            let name = file_name(path);
            let components = std::path::Path::new(&name).components().count();
            assert_eq!(components, 1, "{path:?} gave {name:?}");
            assert!(!name.starts_with('.'), "{path:?} gave {name:?}");
            assert!(name.chars().all(is_safe), "{path:?} gave {name:?}");
        }
        assert_eq!(file_name("/a%00b.txt"), "a_b.txt");
        assert_eq!(file_name("/..%2F..%2Fetc%2Fpasswd"), "_.._etc_passwd");
    }

    #[test]
    fn devices_are_renamed() {
        assert_eq!(file_name("/NUL"), "_NUL");
        assert_eq!(file_name("/com1.txt"), "_com1.txt");
        assert_eq!(file_name("/console.txt"), "console.txt");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(file_name("/%FF%FE.bin"), "\u{fffd}\u{fffd}.bin");
    }

    #[test]
    fn long_names_are_cut_before_their_extension() {
        let name = file_name(&format!("/{}.pdf", "ä".repeat(400)));
        assert!(name.len() <= LONGEST && name.ends_with("ä.pdf"), "{name}");
        assert_eq!(file_name(&"x".repeat(999)).len(), LONGEST);
        // What follows the dot is too long for an extension.
        assert_eq!(file_name(&format!("/a.{}", "x".repeat(999))).len(), LONGEST);
    }

    #[test]
    fn equal_names_are_told_apart() {
        let mut names = Names::default();
        let claimed =
            ["/a/x.txt", "/b/x.txt", "/c/X.TXT", "/x-2.txt", "/d/"].map(|path| names.claim(path));
        assert_eq!(
            claimed,
            ["x.txt", "x-2.txt", "X-3.TXT", "x-2-2.txt", "index.html"]
        );
        let long = "y".repeat(300);
        let (first, second) = (names.claim(&long), names.claim(&long));
        assert_ne!(first, second);
        assert_eq!(second.len(), LONGEST);
    }

    #[test]
    fn an_unfinished_file_is_nobodys_name() {
        let mut names = Names::default();
        assert_eq!(names.claim("/x"), "x");
        assert_eq!(names.claim("/x.part"), "x-2.part");
        let mut names = Names::default();
        assert_eq!(names.claim("/x.part"), "x.part");
        assert_eq!(names.claim("/x"), "x-2");
    }
}
