//! The search itself: which files there are, and which of their lines match. It blocks, and stops where its job does.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use tower_keep::{Job, Report};

use crate::{
    error::SearchError,
    found::{Found, Hit},
    matching::{excerpt, harmless, has_all, lowercase},
    query::Query,
};

/// What is larger is hardly text that somebody wrote.
const LARGEST_FILE: u64 = 1 << 20;
/// Folders of caches say so by this file: <https://bford.info/cachedir/>. Cargo's `target` is one.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Searches all files below `root`. `pause` comes before each file.
pub(crate) fn search(
    root: &Path,
    query: &Query,
    job: &Job,
    mut pause: impl FnMut(),
) -> Result<Found, SearchError> {
    let files = list(root, job)?;
    let total = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let mut found = Found::default();
    for (done, file) in (0..total).zip(&files) {
        job.progress(Report::step(done, total).message(format!("{done} of {total} files")));
        pause();
        job.checkpoint().map_err(SearchError::Cancelled)?;
        // One that went away meanwhile, or may not be read, is none that matches.
        if let Ok(Some(text)) = read(file) {
            let path = file.strip_prefix(root).unwrap_or(file);
            if let Some(hit) = found_in(path, &text, query) {
                found.add(hit);
            }
        }
    }
    found.rank();
    Ok(found)
}

/// All files in the order of their paths, without hidden ones and caches. Symbolic links are not followed, so that there
/// is an end to it.
fn list(root: &Path, job: &Job) -> Result<Vec<PathBuf>, SearchError> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        job.checkpoint().map_err(SearchError::Cancelled)?;
        let is_root = folder == root;
        match entries(&folder) {
            // The folder that was asked for is searched whatever it is.
            Ok(entries) if is_root || !entries.is_cache => {
                files.extend(entries.files);
                folders.extend(entries.folders);
            }
            Err(error) if is_root => {
                return Err(SearchError::Folder {
                    folder: harmless(&root.to_string_lossy()).into(),
                    error: Arc::new(error),
                });
            }
            _ => {}
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[derive(Default)]
struct Entries {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    is_cache: bool,
}

fn entries(folder: &Path) -> io::Result<Entries> {
    let mut entries = Entries::default();
    for entry in fs::read_dir(folder)? {
        // What cannot be told is left out.
        let Ok(entry) = entry else { continue };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let name = entry.file_name();
        if name == CACHE_TAG {
            entries.is_cache = true;
        } else if name.as_encoded_bytes().starts_with(b".") {
            continue;
        } else if kind.is_dir() {
            entries.folders.push(entry.path());
        } else if kind.is_file() {
            entries.files.push(entry.path());
        }
    }
    Ok(entries)
}

/// The file's text; `None` if it is too large, or no text.
fn read(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    // It may grow while it is read.
    let file = File::open(path)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    let is_text = bytes.len() as u64 <= LARGEST_FILE && !bytes.contains(&0);
    Ok(is_text.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn found_in(path: &Path, text: &str, query: &Query) -> Option<Hit> {
    let words = &query.words;
    // Most files are out by this.
    if !has_all(&lowercase(text), words) {
        return None;
    }
    let mut matching = text
        .lines()
        .enumerate()
        .filter(|(_, line)| has_all(&lowercase(line), words));
    let (at, line) = matching.next()?;
    let path = path.to_string_lossy();
    Some(Hit {
        in_path: has_all(&lowercase(&path), words),
        path: harmless(&path),
        lines: 1 + matching.count(),
        line: at + 1,
        text: excerpt(line, words),
    })
}

#[cfg(test)]
mod tests {
    use tower::{Layer, ServiceExt, service_fn};
    use tower_keep::{BoxError, CancelLayer, CancelReason};

    use super::*;

    /// An empty folder of its own, gone when this is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("keep-search-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        fn search(&self, query: &str) -> Result<Found, SearchError> {
            let query = Query::new(query).unwrap();
            search(&self.0, &query, &Job::default(), || ())
        }

        /// Path, lines and first line of each hit.
        fn hits(&self, query: &str) -> Vec<(String, usize, usize)> {
            let hits = self.search(query).unwrap().hits.into_iter();
            hits.map(|hit| (hit.path, hit.lines, hit.line)).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn finds_lines_that_have_all_words() {
        let folder = Scratch::new("words")
            .file("a.txt", "nothing\nA needle, sewing\nneedle\nsewing needles")
            .file("in/needle.txt", "sewing\nthe needle for sewing")
            .file("b.txt", "needle\nsewing");
        assert_eq!(
            folder.hits("sewing NEEDLE"),
            [
                ("a.txt".to_owned(), 2, 2),
                ("in/needle.txt".to_owned(), 1, 2)
            ]
        );
        assert_eq!(
            folder.hits("needle"),
            [
                ("in/needle.txt".to_owned(), 1, 2),
                ("a.txt".to_owned(), 3, 2),
                ("b.txt".to_owned(), 1, 1)
            ]
        );
        let found = folder.search("needle").unwrap();
        assert_eq!((found.lines, found.files), (5, 3));
    }

    #[test]
    fn what_is_no_text_is_skipped_and_what_is_half_text_read() {
        let large = format!("needle{}", " ".repeat(1 << 20));
        let folder = Scratch::new("text")
            .file("binary", b"needle\0")
            .file("large", large)
            .file("latin1", b"caf\xe9 needle")
            .file("empty", "");
        assert_eq!(folder.hits("needle"), [("latin1".to_owned(), 1, 1)]);
    }

    #[test]
    fn hidden_files_and_caches_are_left_out() {
        let folder = Scratch::new("hidden")
            .file(".git/config", "needle")
            .file(".hidden", "needle")
            .file(
                "target/CACHEDIR.TAG",
                "Signature: 8a477f597d28d172789f06886806bc55",
            )
            .file("target/debug/out", "needle")
            .file("seen", "needle");
        assert_eq!(folder.hits("needle"), [("seen".to_owned(), 1, 1)]);
        let target = folder.0.join("target");
        let query = Query::new("needle").unwrap();
        let found = search(&target, &query, &Job::default(), || ()).unwrap();
        assert_eq!(found.files, 1, "a cache that is asked for is searched");
    }

    #[cfg(unix)]
    #[test]
    fn names_are_harmless_too() {
        let folder = Scratch::new("names").file("\u{1b}[2J\u{202e}.txt", "needle");
        let shown = "\u{fffd}[2J\u{fffd}.txt";
        assert_eq!(folder.hits("needle"), [(shown.to_owned(), 1, 1)]);
        let query = Query::new("needle").unwrap();
        let missing = Path::new("/\u{1b}[2J");
        let error = search(missing, &query, &Job::default(), || ()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /\u{fffd}[2J: "));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = Scratch::new("links").file("in/file", "needle");
        std::os::unix::fs::symlink(&folder.0, folder.0.join("in/loop")).unwrap();
        std::os::unix::fs::symlink("file", folder.0.join("in/link")).unwrap();
        assert_eq!(folder.hits("needle"), [("in/file".to_owned(), 1, 1)]);
    }

    #[tokio::test]
    async fn stops_before_the_next_file_once_its_job_is_cancelled() {
        let folder = (0..9).fold(Scratch::new("stops"), |folder, number| {
            folder.file(&number.to_string(), "needle")
        });
        let cancel = CancelLayer::new();
        let (handle, mut files) = (cancel.handle(), 0);
        let service = cancel.layer(service_fn(|query: Query| {
            let result = search(&folder.0, &query, &Job::current(), || {
                files += 1;
                if files == 3 {
                    handle.cancel_all(CancelReason::Requested);
                }
            });
            std::future::ready(result.map_err(BoxError::from))
        }));
        let query = Query::new("needle").unwrap();
        assert!(service.oneshot(query).await.is_err());
        assert_eq!(files, 3);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_does_not_pass() {
        let folder = Scratch::new("missing");
        let query = Query::new("needle").unwrap();
        let missing = folder.0.join("missing");
        let error = search(&missing, &query, &Job::default(), || ()).unwrap_err();
        assert!(matches!(&error, SearchError::Folder { .. }) && !error.may_pass());
    }
}
