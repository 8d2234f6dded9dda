//! Files that appear under their name only when they are complete.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::{fs::File, io::AsyncWriteExt};

use crate::file_name::Names;

/// A file that is being written, under another name in the same folder. Removed when dropped,
/// unless it was kept.
#[derive(Debug)]
pub(crate) struct PartFile {
    /// `None` once it is closed.
    file: Option<File>,
    part: PathBuf,
    kept: bool,
}

impl PartFile {
    pub(crate) fn create(folder: &Path, name: &str) -> io::Result<Self> {
        let part = folder.join(Names::part(name));
        // Not tokio's, which makes the file on another thread: a job that is dropped meanwhile
        // would remove it first and have it made afterwards.
        let file = fs::File::create(&part)?;
        Ok(Self {
            file: Some(File::from_std(file)),
            part,
            kept: false,
        })
    }

    pub(crate) async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(chunk).await,
            None => Ok(()),
        }
    }

    /// Gives the file its name; an older file of that name is replaced in the same moment.
    pub(crate) async fn keep(mut self, name: &str) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            // Only this reports an error of the last write.
            file.flush().await?;
        }
        // No await from here on, so that a cancelled job has either the whole file or none.
        fs::rename(&self.part, self.part.with_file_name(name))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Closed first, as Windows removes no open file.
        self.file = None;
        if !self.kept {
            // Nobody is left who could use the error.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Makes the folder where there is none, and makes sure that files can be made in it: better said
/// once and now than by every job.
pub(crate) fn prepare_folder(folder: &Path) -> io::Result<()> {
    if folder.exists() && !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".fetch-{}.part", std::process::id()));
    fs::File::create(&probe)?;
    fs::remove_file(probe)
}
