//! The stack: `Pipeline::http_client` with the settings of a downloader.

use std::time::Duration;

use clap::{Args, value_parser};
use reqwest::{Client, Request, Response};
use tower::{Layer, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CircuitBreakerLayer, LogLayer, Pipeline, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::CancelHandle, pipeline::PipelineError, progress::ProgressHandle,
};

use crate::screen::Screen;

/// How patient the layers are.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// How often a request is tried again
    #[arg(long, value_name = "N", default_value_t = 3, requires = "urls")]
    max_retries: u32,

    /// The wait before the first retry is at most this long; each further one at most twice as long
    #[arg(long, value_name = "MS", default_value_t = 500, requires = "urls")]
    pub(crate) base_delay: u64,

    /// The limit for a download with all its retries
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "urls", value_parser = value_parser!(u64).range(1..))]
    timeout: u64,

    /// The limit for each wait for the server
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "urls", value_parser = value_parser!(u64).range(1..))]
    pub(crate) attempt_timeout: u64,
}

/// The client in its layers, and what it is watched and stopped by.
pub(crate) struct Stack {
    pub(crate) client: Client,
    // In a box, its type does not depend on the settings.
    pub(crate) service: BoxCloneSyncService<Request, Response, BoxError>,
    pub(crate) progress: ProgressHandle,
    pub(crate) cancel: CancelHandle,
}

impl Stack {
    /// Fails if the settings contradict each other.
    pub(crate) fn new(
        client: Client,
        settings: &Settings,
        screen: &Screen,
    ) -> Result<Self, PipelineError> {
        let retry = RetryLayer::http()
            // A body that breaks off goes on with a range request.
            .resume()
            .max_retries(settings.max_retries)
            .base_delay(Duration::from_millis(settings.base_delay));
        let secs = Duration::from_secs;
        let pipeline = Pipeline::http_client()
            .log(LogLayer::http_to(screen.clone()))
            .progress(ProgressLayer::http())
            // Each server has a circuit. It opens at the second failure in a row.
            .circuit_breaker(CircuitBreakerLayer::http().failure_threshold(1))
            .timeout(TimeoutLayer::http(secs(settings.timeout)))
            .retry(retry)
            .attempt_timeout(TimeoutLayer::http_attempt(secs(settings.attempt_timeout)))
            .build()?;
        Ok(Self {
            progress: pipeline.progress().handle(),
            cancel: pipeline.cancel().handle(),
            service: BoxCloneSyncService::new(pipeline.layer(client.clone())),
            client,
        })
    }
}
