//! The search box: each key asks.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use crossterm::{
    event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    terminal,
};
use futures::StreamExt;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    args::Args,
    editor::Editor,
    ended::{Ended, How, farewell},
    found::Found,
    history::History,
    layout::{self, View},
    matching::harmless,
    query::Query,
    screen::Screen,
    session::{Happened, Session},
    signals::{Signal, Signals},
    stack::Search,
};

/// How many endings are remembered: as many as a high window shows.
const ENDINGS: usize = 50;

/// Runs the box until it is left, and says what the exit code is.
pub(crate) async fn run<S: Search>(args: &Args, session: Session<S>) -> io::Result<u8> {
    let mut signals = Signals::new()?;
    let mut keys = EventStream::new();
    let mut screen = Screen::take()?;
    let mut size = terminal::size()?;
    let mut tick = interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut terminal = Terminal::new(args, session);
    let mut code = 0;
    let tally = loop {
        screen.draw(terminal.frame(size))?;
        tokio::select! {
            biased;
            signal = signals.next() => {
                code = signal.exit_code();
                terminal.leave();
            }
            happened = terminal.session.next() => match happened {
                Happened::Ended(ended) => terminal.ended(ended),
                Happened::Closed(tally) => break tally,
            },
            key = keys.next() => match key {
                Some(Ok(Event::Resize(width, height))) => {
                    size = (width, height);
                    screen.clear()?;
                }
                Some(Ok(Event::Paste(text))) => terminal.edit(|editor| editor.insert(&text)).await?,
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    terminal.page = layout::list_height(size.1.into());
                    terminal.key(key).await?;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
            _ = tick.tick(), if terminal.session.is_busy() => terminal.turns += 1,
        }
    };
    drop(screen);
    let _ = writeln!(io::stdout(), "{}", farewell(&tally));
    let cut_off = tally.cancelled > 0;
    Ok(match code {
        0 if cut_off => Signal::Interrupt.exit_code(),
        code => code,
    })
}

/// What is typed, what was found, and the session that brings them together.
struct Terminal<'a, S> {
    args: &'a Args,
    session: Session<S>,
    editor: Editor,
    history: History,
    /// The result of the last search that had one.
    found: Arc<Found>,
    skipped: usize,
    page: usize,
    endings: VecDeque<String>,
    /// How often the sign that something runs turned.
    turns: usize,
}

impl<'a, S: Search> Terminal<'a, S> {
    fn new(args: &'a Args, session: Session<S>) -> Self {
        Self {
            args,
            session,
            editor: Editor::default(),
            history: History::default(),
            found: Arc::default(),
            skipped: 0,
            page: 0,
            endings: VecDeque::new(),
            turns: 0,
        }
    }

    async fn key(&mut self, key: KeyEvent) -> io::Result<()> {
        let is_empty = self.editor.text().is_empty();
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => self.leave(),
                KeyCode::Char('d') if is_empty => self.leave(),
                KeyCode::Char('u') => self.edit(Editor::delete_to_start).await?,
                KeyCode::Char('k') => self.edit(Editor::delete_to_end).await?,
                KeyCode::Char('w') => self.edit(Editor::delete_word).await?,
                KeyCode::Char('h') => self.edit(Editor::delete_before).await?,
                KeyCode::Char('a') => self.edit(Editor::home).await?,
                KeyCode::Char('e') => self.edit(Editor::end).await?,
                _ => {}
            }
            return Ok(());
        }
        match key.code {
            KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::ALT) => {
                let mut bytes = [0; 4];
                let text = c.encode_utf8(&mut bytes);
                self.edit(|editor| editor.insert(text)).await?;
            }
            KeyCode::Backspace => self.edit(Editor::delete_before).await?,
            KeyCode::Delete => self.edit(Editor::delete_after).await?,
            KeyCode::Left => self.edit(Editor::left).await?,
            KeyCode::Right => self.edit(Editor::right).await?,
            KeyCode::Home => self.edit(Editor::home).await?,
            KeyCode::End => self.edit(Editor::end).await?,
            KeyCode::Enter => {
                self.history.add(self.editor.text());
                self.ask().await?;
            }
            KeyCode::Up => self.recall(History::older).await?,
            KeyCode::Down => self.recall(History::newer).await?,
            KeyCode::PageUp => self.skipped = self.skipped.saturating_sub(self.page),
            KeyCode::PageDown => {
                let next = self.skipped + self.page;
                if next < self.found.hits.len() {
                    self.skipped = next;
                }
            }
            KeyCode::Esc if is_empty => self.leave(),
            KeyCode::Esc => self.edit(Editor::clear).await?,
            _ => {}
        }
        Ok(())
    }

    /// Changes the line, and asks if it is another one then.
    async fn edit(&mut self, change: impl FnOnce(&mut Editor)) -> io::Result<()> {
        let before = self.editor.text().to_owned();
        change(&mut self.editor);
        if self.editor.text() == before {
            return Ok(());
        }
        self.ask().await
    }

    async fn recall(&mut self, which: fn(&mut History) -> Option<&str>) -> io::Result<()> {
        match which(&mut self.history).map(str::to_owned) {
            Some(text) => self.edit(|editor| editor.set(&text)).await,
            None => Ok(()),
        }
    }

    async fn ask(&mut self) -> io::Result<()> {
        match Query::new(self.editor.text()) {
            Some(query) => self.session.ask(query).await.map_err(io::Error::other),
            None => {
                self.session.cancel("the line was emptied");
                self.list(Arc::default());
                Ok(())
            }
        }
    }

    fn leave(&mut self) {
        self.session.close(self.args.within());
    }

    fn ended(&mut self, ended: Ended) {
        self.endings.push_front(ended.to_string());
        self.endings.truncate(ENDINGS);
        match ended.how {
            How::Found(found, _) => self.list(found),
            // What is listed would not be what was asked for.
            How::Failed(_) => self.list(Arc::default()),
            _ => {}
        }
    }

    fn list(&mut self, found: Arc<Found>) {
        self.found = found;
        self.skipped = 0;
    }

    fn frame(&mut self, (width, height): (u16, u16)) -> layout::Frame {
        let status = self.status();
        layout::frame(
            &View {
                editor: &self.editor,
                status: &status,
                hits: &self.found.hits,
                skipped: self.skipped,
                endings: self.endings.make_contiguous(),
            },
            width,
            height,
        )
    }

    fn status(&self) -> String {
        let running = self.session.is_busy().then(|| {
            let sign = ['|', '/', '-', '\\'][self.turns % 4];
            // It has no report of its own if it joined one that another began.
            let report = self.session.report().unwrap_or_default();
            format!("{sign} searching {}", report.text().unwrap_or(".."))
        });
        match (running, self.session.is_closing()) {
            (Some(running), true) => format!(
                "{running}; leaving within {} s, Ctrl-C again to leave now",
                self.args.within().as_secs()
            ),
            (Some(running), false) => running,
            (None, _) if self.editor.text().is_empty() => format!(
                "Type to search in {}; Esc, Ctrl-C or Ctrl-D to leave",
                harmless(&self.args.folder.to_string_lossy())
            ),
            (None, _) => self.endings.front().cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tower::service_fn;

    use super::*;
    use crate::{
        error::SearchError,
        found::Hit,
        journal::{Journal, Via},
        query::Ask,
        stack,
    };

    /// The list is what the line asks for: it stays while that is sought, and is empty where that failed.
    #[tokio::test]
    async fn a_search_that_failed_lists_nothing() {
        let args = Args::parse_from(["search"]);
        let journal = Arc::new(Journal::default());
        let search = service_fn(|_: Ask| std::future::pending());
        let stack = stack::build(search, args.settings(), Arc::clone(&journal));
        let mut terminal = Terminal::new(&args, Session::new(stack, journal));
        let ended = |how| Ended {
            ask: Ask {
                number: 1,
                query: Query::new("needle").unwrap(),
            },
            how,
        };
        let mut found = Found::default();
        found.add(Hit {
            path: "path".to_owned(),
            in_path: false,
            lines: 1,
            line: 1,
            text: "needle".to_owned(),
        });
        terminal.ended(ended(How::Found(found.into(), Via::Own)));
        terminal.ended(ended(How::Replaced));
        assert_eq!(terminal.found.hits.len(), 1);
        terminal.ended(ended(How::Failed(SearchError::Panicked)));
        assert!(terminal.found.hits.is_empty());
    }
}
