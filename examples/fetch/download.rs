//! The service at the heart of the stack: one URL into one file.

use std::{
    io,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::{
    Client,
    header::{DATE, HeaderMap, HeaderName, RETRY_AFTER},
};
use tower::Service;
use tower_keep::{Job, Report};

use crate::{error::FetchError, part_file::PartFile, plan::Fetch, retry_after::retry_after};

/// A fetched URL. `Clone`, so that joined calls can share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
}

/// Fetches one URL, up to the last byte of its body: all that the layers see as the call.
#[derive(Clone, Debug)]
pub(crate) struct Downloader {
    pub(crate) client: Client,
    pub(crate) folder: Arc<Path>,
}

impl Service<Fetch> for Downloader {
    type Response = Done;
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<Done, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let Self { client, folder } = self.clone();
        Box::pin(async move { download(&client, &folder, fetch).await })
    }
}

async fn download(client: &Client, folder: &Path, fetch: Fetch) -> Result<Done, FetchError> {
    let job = Job::current();
    // A retry begins from nothing again.
    job.progress(0.0);
    let mut response = client.get(fetch.url).send().await?;
    let status = response.status();
    if !status.is_success() {
        return Err(FetchError::Status {
            status,
            retry_after: asked_wait(response.headers()),
        });
    }
    // A cancelled or failed attempt drops the file, which removes it.
    let no_file = |error: io::Error| {
        FetchError::Disk(format!("{:?}: {error}", folder.join(&fetch.file)).into())
    };
    let mut file = PartFile::create(folder, &fetch.file).map_err(no_file)?;
    let total = response.content_length();
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        file.write(&chunk).await.map_err(no_file)?;
        bytes += chunk.len() as u64;
        job.progress(Report::bytes(bytes, total));
    }
    file.keep(&fetch.file).await.map_err(no_file)?;
    Ok(Done { bytes })
}

/// What the response says about when to come back.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    retry_after(text(RETRY_AFTER)?, text(DATE))
}
