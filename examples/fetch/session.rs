//! All downloads, some at a time, until they have ended or Ctrl-C has stopped them.

use std::future::pending;

use futures::future::join_all;
use indicatif::HumanBytes;
use tokio::{signal::ctrl_c, sync::Semaphore};
use tower_keep::{BoxError, Rejection, describe_error};
use tower_keep_examples::{Side, render};

use crate::{download::Download, screen::Screen, stack::Stack};

/// A download that has ended.
pub(crate) struct Ended {
    name: String,
    pub(crate) outcome: &'static str,
    /// 0 if the server was not asked.
    pub(crate) attempts: u32,
    /// Of the file that was fetched.
    pub(crate) length: Option<u64>,
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
        let job = views.find(|view| *view.name == name && view.started_at.is_some());
        Ended {
            name,
            outcome: outcome(&result),
            attempts: job.map_or(0, |job| job.attempt),
            length: result.ok(),
        }
    }));
    let heed_ctrl_c = async {
        if ctrl_c().await.is_ok() {
            screen.line("interrupted: cancels all downloads");
            // This also ends the downloads that wait for their turn.
            stack.cancel.shutdown_now();
        }
        pending().await
    };
    let ended = tokio::select! {
        ended = all => ended,
        never = screen.show(&stack.progress) => match never {},
        ended = heed_ctrl_c => ended,
    };
    screen.clear();
    ended
}

fn outcome(result: &Result<u64, BoxError>) -> &'static str {
    match result.as_ref().map_err(|error| Rejection::of(&**error)) {
        Ok(_) => "fetched",
        Err(Some(Rejection::Cancelled)) => "cancelled",
        Err(Some(Rejection::CircuitOpen)) => "circuit open",
        Err(Some(Rejection::TimedOut)) => "timed out",
        Err(_) => "failed",
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
    let rows = ended.iter().map(|ended| {
        let size = ended.length.map(|length| HumanBytes(length).to_string());
        let (outcome, attempts) = (ended.outcome.to_owned(), ended.attempts.to_string());
        let size = size.unwrap_or_else(|| "-".to_owned());
        [ended.name.clone(), outcome, attempts, size]
    });
    render(headings, &rows.collect::<Vec<_>>())
}
