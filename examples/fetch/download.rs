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
    Client, Response,
    header::{DATE, HeaderMap, HeaderName, RETRY_AFTER},
};
use tokio::time::Instant;
use tower::Service;
use tower_keep::{Job, Report};
use tower_keep_examples::retry_after::retry_after;

use crate::{error::FetchError, part_file::PartFile, plan::Fetch};

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
    let mut meter = Meter::new();
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
    meter.begin(&response);
    while let Some(chunk) = response.chunk().await? {
        file.write(&chunk).await.map_err(no_file)?;
        meter.add(chunk.len() as u64);
    }
    file.keep(&fetch.file).await.map_err(no_file)?;
    Ok(Done { bytes: meter.bytes })
}

/// What the response says about when to come back.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    retry_after(text(RETRY_AFTER)?, text(DATE))
}

/// Reports to the current job how much of the body is there.
struct Meter {
    job: Job,
    bytes: u64,
    total: Option<u64>,
    reported: Instant,
}

impl Meter {
    /// Nobody can follow more than this.
    const INTERVAL: Duration = Duration::from_millis(50);

    fn new() -> Self {
        let job = Job::current();
        // A retry begins from nothing again.
        job.progress(0.0);
        Self {
            job,
            bytes: 0,
            total: None,
            reported: Instant::now(),
        }
    }

    fn begin(&mut self, response: &Response) {
        self.total = response.content_length();
    }

    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.reported.elapsed() < Self::INTERVAL {
            return;
        }
        self.reported = Instant::now();
        self.job.progress(Report::bytes(self.bytes, self.total));
    }
}
