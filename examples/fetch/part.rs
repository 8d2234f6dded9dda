//! Files that have their name only when they are complete. A part that is left is continued later.

use std::{
    fs,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io,
    path::{Path, PathBuf},
};

use reqwest::Url;
use tokio::fs::File;

/// The file of a download, and what belongs to it until it is complete.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: PathBuf,
    part: PathBuf,
    /// Contains what the part is a part of: a hash of the URL, and an entity tag.
    origin: PathBuf,
    /// A URL may contain secrets, so it is not written to the disk.
    url_hash: String,
}

impl PartFile {
    /// The name must not contain `.part`.
    pub(crate) fn new(folder: &Path, name: &str, url: &Url) -> Self {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Self {
            file: folder.join(name),
            part: folder.join(format!("{name}.part")),
            origin: folder.join(format!("{name}.part.of")),
            url_hash: hasher.hash_one(url).to_string(),
        }
    }

    /// The length and the entity tag of what an earlier run has left of this URL.
    pub(crate) fn left(&self) -> Option<(u64, String)> {
        let length = fs::metadata(&self.part).ok()?.len();
        let origin = fs::read_to_string(&self.origin).ok()?;
        let tag = origin.strip_prefix(&self.url_hash)?;
        (length > 0 && !tag.is_empty()).then(|| (length, tag.to_owned()))
    }

    /// Begins the file, with nothing in it. Without a tag it cannot be continued.
    pub(crate) fn begin(&self, tag: Option<&str>) -> io::Result<File> {
        // The origin changes only while the part is empty.
        let file = fs::File::create(&self.part)?;
        fs::write(
            &self.origin,
            self.url_hash.clone() + tag.unwrap_or_default(),
        )?;
        Ok(file.into())
    }

    /// Opens what an earlier run has left, to continue it.
    pub(crate) fn resume(&self) -> io::Result<File> {
        Ok(fs::File::options().append(true).open(&self.part)?.into())
    }

    /// Gives the complete file its name. It replaces an older file of that name in one step.
    pub(crate) fn complete(&self) -> io::Result<()> {
        fs::rename(&self.part, &self.file)?;
        fs::remove_file(&self.origin)
    }
}
