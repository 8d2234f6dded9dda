//! What the layers report: bars on a terminal, plain lines elsewhere, on standard error.

use std::{collections::HashMap, convert::Infallible, io::Write, time::Duration};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::sleep;
use tower_keep::{
    Event, EventKind, JobId,
    event::Observer,
    progress::{JobView, ProgressHandle},
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Screen(MultiProgress);

/// The Log layer writes to the screen: what the bars do not show.
impl Observer for Screen {
    fn on_event(&self, event: &Event) {
        let text = match &event.kind {
            EventKind::RetryScheduled { delay, error, .. } => {
                let (attempt, cause) = (event.attempt, error.rsplit(": ").next());
                let cause = cause.unwrap_or(error);
                format!("attempt {attempt} failed, again in {delay:.1?}: {cause}")
            }
            EventKind::CircuitOpened { circuit, .. } => format!("opens the circuit of {circuit}"),
            _ => return,
        };
        self.line(&format!("{}: {text}", event.name));
    }
}

impl Screen {
    /// Writes a line, above the bars if there are any.
    pub(crate) fn line(&self, text: &str) {
        // It is no failure if nobody reads it.
        drop(match self.0.is_hidden() {
            true => writeln!(std::io::stderr(), "{text}"),
            false => self.0.println(text),
        });
    }

    pub(crate) fn clear(&self) {
        drop(self.0.clear());
    }

    /// Shows the running jobs until it is dropped.
    pub(crate) async fn show(&self, progress: &ProgressHandle) -> Infallible {
        let has_bars = !self.0.is_hidden();
        let pause = Duration::from_millis(if has_bars { 100 } else { 1000 });
        let mut bars: HashMap<JobId, ProgressBar> = HashMap::new();
        loop {
            sleep(pause).await;
            let views = progress.jobs();
            // A dropped bar would stay on the screen.
            let is_over = |id: &JobId| views.iter().all(|view| view.job != *id);
            (bars.iter().filter(|(id, _)| is_over(id))).for_each(|(_, bar)| self.0.remove(bar));
            bars.retain(|id, _| !is_over(id));
            for view in &views {
                if has_bars {
                    let bar = bars.entry(view.job).or_insert_with(|| self.add_bar(view));
                    bar.set_position((view.report.fraction().unwrap_or_default() * 1000.0) as u64);
                    bar.set_message(describe(view));
                } else {
                    self.line(&format!("{}: {}", view.name, describe(view)));
                }
            }
        }
    }

    fn add_bar(&self, view: &JobView) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix:24!} [{bar:16}] {wide_msg}")
            .expect("it is a template");
        let bar = self.0.add(ProgressBar::new(1000));
        bar.set_style(style.progress_chars("=> "));
        bar.with_prefix(view.name.to_string())
    }
}

/// How much of the body is there, how fast it comes, how long the rest takes, and the attempt.
fn describe(view: &JobView) -> String {
    let mut text = match view.report.done() {
        Some(done) => HumanBytes(done).to_string(),
        None => view.state.to_string(),
    };
    if let Some(total) = view.report.total() {
        text += &format!(" of {}", HumanBytes(total));
    }
    if let Some(rate) = view.rate {
        text += &format!(", {}/s", HumanBytes(rate as u64));
    }
    if let Some(left) = view.time_left {
        text += &format!(", {left:.1?} left");
    }
    if view.attempt > 1 {
        text += &format!(", attempt {}", view.attempt);
    }
    text
}
