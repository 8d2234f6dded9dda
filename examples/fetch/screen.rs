//! Bars on a terminal, plain lines elsewhere; both on standard error.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;
use tower_keep::{
    JobId,
    progress::{JobState, JobView, ProgressHandle},
};

use crate::human::{Size, Took};

/// The length of a bar, whatever the job's.
const FULL: u64 = 1000;

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Screen {
    Terminal(MultiProgress),
    Plain,
}

impl Screen {
    pub(crate) fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Terminal(MultiProgress::new())
        } else {
            Self::Plain
        }
    }

    /// Writes a line, above the bars if there are any.
    pub(crate) fn line(&self, text: &str) {
        // Nobody reading is no reason to stop the downloads.
        match self {
            Self::Terminal(bars) => drop(bars.println(text)),
            Self::Plain => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Shows how far the jobs are, for ever. Reads the latest states rather than the events: they
    /// never lag.
    pub(crate) async fn show(self, progress: ProgressHandle) {
        match self {
            Self::Terminal(bars) => show_bars(&bars, &progress).await,
            Self::Plain => self.show_lines(&progress).await,
        }
    }

    async fn show_lines(&self, progress: &ProgressHandle) {
        let mut shown = HashMap::new();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for view in progress.jobs() {
                let last = shown.insert(view.job, view.report.clone());
                // Without an amount the body has not begun.
                if view.report.done().is_some() && last.as_ref() != Some(&view.report) {
                    self.line(&format!("{}: {}", view.name, describe(&view)));
                }
            }
        }
    }

    pub(crate) fn clear(&self) {
        if let Self::Terminal(bars) = self {
            drop(bars.clear());
        }
    }
}

async fn show_bars(bars: &MultiProgress, progress: &ProgressHandle) {
    // A template that does not parse shows the default.
    let style = |template| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    };
    let known = style("{prefix:24!} [{bar:16}] {percent:>3} %  {wide_msg}");
    let unknown = style("{prefix:24!} [{spinner:^16}]        {wide_msg}");
    let mut shown: HashMap<JobId, ProgressBar> = HashMap::new();
    loop {
        let jobs = progress.jobs();
        shown.retain(|id, bar| {
            let runs = jobs.iter().any(|view| view.job == *id);
            if !runs {
                // A line says how it ended.
                bar.finish_and_clear();
                bars.remove(bar);
            }
            runs
        });
        for view in &jobs {
            // What still waits for its turn, or for another's result, would only fill the screen.
            if view.state != JobState::Waiting {
                let bar = shown.entry(view.job).or_insert_with(|| {
                    let bar = bars.add(ProgressBar::new(FULL));
                    bar.set_prefix(view.name.to_string());
                    bar
                });
                bar.set_message(describe(view));
                match view.report.fraction() {
                    Some(fraction) => {
                        bar.set_style(known.clone());
                        bar.set_position((fraction * FULL as f64) as u64);
                    }
                    // A body without a length.
                    None => {
                        bar.set_style(unknown.clone());
                        bar.tick();
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn describe(view: &JobView) -> String {
    if let Some(next) = view.next_attempt_at {
        let wait = next.saturating_duration_since(Instant::now());
        return format!("waits after attempt {}, {} more", view.attempt, Took(wait));
    }
    let text = amount(view).unwrap_or_else(|| "asking".to_owned());
    match view.attempt {
        1 => text,
        attempt => format!("{text} (attempt {attempt})"),
    }
}

/// How much of the body is there, how fast it comes, and how long that goes on.
fn amount(view: &JobView) -> Option<String> {
    let mut text = Size(view.report.done()?).to_string();
    if let Some(total) = view.report.total() {
        text += &format!(" of {}", Size(total));
    }
    if let Some(rate) = view.rate {
        text += &format!(", {}/s", Size(rate as u64));
    }
    if let Some(left) = view.time_left {
        text += &format!(", {} left", Took(left));
    }
    Some(text)
}

/// One line on standard error, for what is wrong outside the jobs.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "fetch: {text}");
}
