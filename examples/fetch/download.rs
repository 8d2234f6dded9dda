//! One URL into one file.

use std::{collections::HashSet, path::Path};

use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE},
};
use tokio::{fs::File, io::AsyncWriteExt};
use tower::Layer;
use tower_keep::{BoxError, JobLayer, SendThrough};

use crate::{part::PartFile, screen::Screen, stack::Stack};

/// One URL, and the file that it becomes.
#[derive(Debug)]
pub(crate) struct Download {
    /// Of the job and of the file. No other download has it.
    pub(crate) name: String,
    url: Url,
    file: PartFile,
}

impl Download {
    /// One for each URL, even if it is given twice.
    pub(crate) fn all(urls: Vec<Url>, folder: &Path) -> Vec<Self> {
        let (mut seen, mut names) = (HashSet::new(), HashSet::new());
        let new = urls.into_iter().filter(|url| seen.insert(url.clone()));
        let downloads = new.map(|url| {
            let mut name = file_name(&url);
            // Some file systems do not distinguish upper and lower case.
            while !names.insert(name.to_lowercase()) {
                name.insert(0, '_');
            }
            let file = PartFile::new(folder, &name, &url);
            Self { name, url, file }
        });
        downloads.collect()
    }

    /// Fetches the file, and returns its length. If it fails, the part stays for a later run.
    pub(crate) async fn run(&self, stack: &Stack, screen: &Screen) -> Result<u64, BoxError> {
        let job = JobLayer::new(self.name.clone()).http();
        let stack_of_job = job.layer(stack.service.clone());
        let left = self.file.left();
        let mut request = stack.client.get(self.url.clone());
        if let Some((length, tag)) = &left {
            // If the file has another tag now, the server sends all of it.
            request = request.header(RANGE, format!("bytes={length}-"));
            request = request.header(IF_RANGE, tag);
        }
        let mut response = request.send_through(&stack_of_job).await?;
        if left.is_some() && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // Nothing follows what is left.
            let request = stack.client.get(self.url.clone());
            response = request.send_through(&stack_of_job).await?;
        }
        let (mut file, begin) = match (response.status(), left) {
            (StatusCode::PARTIAL_CONTENT, Some((length, _))) => {
                let range = header(response.headers(), CONTENT_RANGE);
                if !range.is_some_and(|range| range.starts_with(&format!("bytes {length}-"))) {
                    return Err("the server sent another part of the file".into());
                }
                screen.line(&format!("{}: continues at byte {length}", self.name));
                (self.file.resume()?, length)
            }
            (StatusCode::OK, _) => {
                // A weak tag does not promise the same bytes.
                let tag = header(response.headers(), ETAG).filter(|tag| tag.starts_with('"'));
                (self.file.begin(tag)?, 0)
            }
            (status, _) => return Err(format!("the server answered {status}").into()),
        };
        let copied = copy(&mut response, &mut file).await;
        // What has arrived is kept, even if more should have followed.
        file.flush().await?;
        let length = begin + copied?;
        self.file.complete()?;
        Ok(length)
    }
}

async fn copy(response: &mut Response, file: &mut File) -> Result<u64, BoxError> {
    let mut length = 0;
    while let Some(chunk) = response.chunk().await? {
        file.write_all(&chunk).await?;
        length += chunk.len() as u64;
    }
    Ok(length)
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The end of the path, as it stands in the URL. It is one plain name: `..` is resolved already, and
/// an encoded slash stays encoded.
fn file_name(url: &Url) -> String {
    let end = url.path().rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%+=,@".contains(c);
    let name = end.replace(|c| !is_plain(c), "_");
    match name.as_str() {
        "" => "index.html".to_owned(),
        // `PartFile` has such names for itself.
        _ => name.replace(".part", "_part"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_url_has_a_file_of_its_own() {
        for (urls, expected) in [
            ("http://a/x.txt http://b/x.txt", "x.txt _x.txt"),
            ("http://a/x.txt http://a/x.txt", "x.txt"),
            ("http://a/x.txt http://a/X.TXT?page=2", "x.txt _X.TXT"),
            ("http://a/folder/ http://a/%2e%2e", "index.html _index.html"),
            ("http://a/..%2F..%2Fetc%2Fpasswd", "..%2F..%2Fetc%2Fpasswd"),
            (
                r"http://a/x.txt.part http://a/b\..\c:d|e",
                "x.txt_part c_d_e",
            ),
        ] {
            let urls = urls.split(' ').map(|url| url.parse().unwrap());
            let downloads = Download::all(urls.collect(), Path::new("out"));
            let names: Vec<_> = downloads.iter().map(|download| &*download.name).collect();
            assert_eq!(names.join(" "), expected);
        }
    }
}
