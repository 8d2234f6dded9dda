//! The seven layers around the downloader.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::{
    Client,
    redirect::{Action, Attempt, Policy},
};
use tower::{Service, ServiceBuilder, steer::Steer};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, DedupLayer, Event, JobLayer, LogLayer, ProgressLayer,
    RetryLayer, TimeoutLayer, cancel::CancelHandle, progress::ProgressHandle,
};

use crate::{
    download::{Done, Downloader},
    error::FetchError,
    journal::Journal,
    plan::{Fetch, Host, refusal},
    policy::{hosts_fault, if_it_may_pass},
};

/// How patient the layers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) jobs: usize,
    pub(crate) max_retries: u32,
    pub(crate) base_delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failure_threshold: u32,
    pub(crate) cooldown: Duration,
}

impl Settings {
    /// Which waits there are between the attempts.
    pub(crate) fn retry(&self) -> RetryLayer {
        RetryLayer::new()
            .max_retries(self.max_retries)
            .base_delay(self.base_delay)
            .max_delay(self.max_delay)
    }
}

/// A stack, and what it is watched and stopped by.
pub(crate) struct Stack<S> {
    pub(crate) service: S,
    pub(crate) progress: ProgressHandle,
    pub(crate) cancel: CancelHandle,
}

/// The documented order: Log, Progress, Cancel, Dedup, CircuitBreaker, Timeout, Retry, Timeout. The
/// upper four are shared by all hosts, the lower four are each host's own.
pub(crate) fn build(
    hosts: Vec<Host>,
    settings: Settings,
    folder: &Path,
    journal: Arc<Journal>,
) -> Result<
    Stack<impl Service<Fetch, Response = Done, Error = FetchError> + Clone + use<>>,
    reqwest::Error,
> {
    let clients = Clients::new()?;
    let folder: Arc<Path> = folder.into();
    let per_host = hosts.into_iter().map(|host| {
        let downloader = Downloader {
            client: clients.of(&host),
            folder: Arc::clone(&folder),
        };
        ServiceBuilder::new()
            .layer(
                CircuitBreakerLayer::new()
                    .named(host.name)
                    .failure_threshold(settings.failure_threshold)
                    .cooldown(settings.cooldown)
                    // A probe that takes as long as a job may take still counts.
                    .probe_timeout(settings.cooldown.max(settings.timeout))
                    .classify(hosts_fault)
                    .fail_with(FetchError::Open),
            )
            .layer(TimeoutLayer::new(settings.timeout).fail_with(FetchError::Timeout))
            .layer(settings.retry().decide_with(if_it_may_pass))
            .layer(
                TimeoutLayer::new(settings.attempt_timeout)
                    .per_attempt()
                    .fail_with(FetchError::Timeout),
            )
            .service(downloader)
    });

    let progress = ProgressLayer::new();
    let cancel = CancelLayer::new().fail_with(FetchError::Cancelled);
    Ok(Stack {
        progress: progress.handle(),
        cancel: cancel.handle(),
        service: ServiceBuilder::new()
            .layer(JobLayer::named_by(|fetch: &Fetch| Arc::clone(&fetch.job)))
            .layer(LogLayer::to(move |event: &Event| journal.record(event)))
            .layer(progress)
            .layer(cancel)
            .layer(
                DedupLayer::new(|fetch: &Fetch| Some(fetch.url.clone()))
                    .join()
                    .fail_with(FetchError::Duplicate),
            )
            // Below Dedup, so that all jobs are there from the start and a duplicate takes no
            // place. Above the circuits, so that a job asks its circuit when it is its turn, and
            // not when it was queued.
            .concurrency_limit(settings.jobs)
            .service(Steer::new(per_host, |fetch: &Fetch, _: &[_]| fetch.host)),
    })
}

/// This machine is never asked through a proxy; the rest of the world as the environment says.
struct Clients {
    direct: Client,
    usual: Client,
}

impl Clients {
    fn new() -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("tower-keep-fetch/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(10))
                // A stall is found out long before a large file's attempt is over.
                .read_timeout(Duration::from_secs(30))
                .redirect(Policy::custom(follow))
                // One retry is enough, and ours waits.
                .retry(reqwest::retry::never())
        };
        Ok(Self {
            direct: builder().no_proxy().build()?,
            usual: builder().build()?,
        })
    }

    fn of(&self, host: &Host) -> Client {
        if host.is_loopback {
            self.direct.clone()
        } else {
            self.usual.clone()
        }
    }
}

/// As the client does by itself, but says in one line what it cannot follow, such as the way from
/// http to https.
fn follow(attempt: Attempt<'_>) -> Action {
    match refusal(attempt.url()) {
        None => Policy::default().redirect(attempt),
        Some(reason) => attempt.error(format!("its new place {reason}")),
    }
}
