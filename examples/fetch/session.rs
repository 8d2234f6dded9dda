//! All downloads, some at a time, until they have ended or Ctrl-C has stopped them.

use std::{convert::Infallible, future::pending};

use futures::future::join_all;
use indicatif::HumanBytes;
use tokio::{signal::ctrl_c, sync::Semaphore};
use tower_keep::{BoxError, Rejection, cancel::CancelHandle, describe_error, progress::JobView};
use tower_keep_examples::{Side, render};

use crate::{download::Download, screen::Screen, stack::Stack};

/// A download that has ended.
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) result: Result<u64, BoxError>,
    /// Its job, as the Progress layer saw it. `None` if the stack was not called.
    view: Option<JobView>,
}

/// Runs all downloads, `places` of them at once.
pub(crate) async fn run(
    downloads: &[Download],
    places: u16,
    stack: &Stack,
    screen: &Screen,
) -> Vec<Ended> {
    // A `ConcurrencyLimit` in the stack would give the place back at the head of the response.
    let places = &Semaphore::new(places.into());
    let all = join_all(downloads.iter().map(|download| async move {
        let _place = places.acquire().await;
        let result = download.run(stack, screen).await;
        let text = match &result {
            Ok(length) => format!("fetched {}", HumanBytes(*length)),
            Err(error) => describe_error(&**error),
        };
        let name = download.name.clone();
        screen.line(&format!("{name}: {text}"));
        let mut views = stack.progress.history().into_iter();
        let view = views.find(|view| *view.name == name);
        Ended { name, result, view }
    }));
    let ended = tokio::select! {
        ended = all => ended,
        never = screen.show(&stack.progress) => match never {},
        never = heed_ctrl_c(&stack.cancel, screen) => match never {},
    };
    screen.clear();
    ended
}

/// Ctrl-C cancels all jobs, those that wait too. So each download ends with an error.
async fn heed_ctrl_c(cancel: &CancelHandle, screen: &Screen) -> Infallible {
    if ctrl_c().await.is_ok() {
        screen.line("interrupted: cancels all downloads");
        cancel.shutdown_now();
    }
    pending().await
}

impl Ended {
    pub(crate) fn outcome(&self) -> &'static str {
        let Err(error) = &self.result else {
            return "fetched";
        };
        match Rejection::of(&**error) {
            Some(Rejection::Cancelled) => "cancelled",
            Some(Rejection::CircuitOpen) => "circuit open",
            Some(Rejection::TimedOut) => "timed out",
            _ => "failed",
        }
    }

    /// 0 if the server was not asked.
    pub(crate) fn attempts(&self) -> u32 {
        let started = self.view.as_ref().filter(|view| view.started_at.is_some());
        started.map_or(0, |view| view.attempt)
    }

    fn row(&self) -> [String; 4] {
        let size = self
            .result
            .as_ref()
            .map(|length| HumanBytes(*length).to_string());
        [
            self.name.clone(),
            self.outcome().to_owned(),
            self.attempts().to_string(),
            size.unwrap_or_else(|_| "-".to_owned()),
        ]
    }
}

/// The closing table: a line for each download.
pub(crate) fn table(ended: &[Ended]) -> String {
    use Side::{Left, Right};
    let headings = [
        ("file", Left),
        ("outcome", Left),
        ("attempts", Right),
        ("size", Right),
    ];
    let rows: Vec<_> = ended.iter().map(Ended::row).collect();
    render(headings, &rows)
}
