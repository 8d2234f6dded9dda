//! The terminal: taken over, drawn on, and given back as it was, in whichever way the program ends, as long as it ends
//! itself: after SIGKILL, or SIGQUIT from outside, nothing of it runs any more.

use std::{
    io::{self, Stdout, Write},
    panic,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{DisableBracketedPaste, EnableBracketedPaste},
    execute, queue,
    style::{Attribute, Print, SetAttribute},
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    },
};

use crate::layout::{Frame, Look};

/// While the screen is taken over, what panics say: it would be lost there. A search that panics is only one that failed.
static PANICS: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// A terminal that is taken over until this is dropped.
pub(crate) struct Screen {
    out: Stdout,
    /// What is on it, if that is known.
    shown: Frame,
}

impl Screen {
    pub(crate) fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let mut screen = Self {
            out: io::stdout(),
            shown: Frame::default(),
        };
        keep_panics();
        execute!(screen.out, EnterAlternateScreen, EnableBracketedPaste)?;
        screen.clear()?;
        Ok(screen)
    }

    /// Forgets what is shown, as after the window changed its size.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.shown = Frame::default();
        execute!(self.out, Clear(ClearType::All))
    }

    /// Shows this. Only lines that are different are written.
    pub(crate) fn draw(&mut self, frame: Frame) -> io::Result<()> {
        if frame == self.shown {
            return Ok(());
        }
        queue!(self.out, BeginSynchronizedUpdate, Hide)?;
        let (old, new) = (&self.shown.lines, &frame.lines);
        for at in 0..old.len().max(new.len()) {
            let row = u16::try_from(at).unwrap_or(u16::MAX);
            match (old.get(at), new.get(at)) {
                (old, new) if old == new => {}
                (_, new) => {
                    queue!(self.out, MoveTo(0, row), Clear(ClearType::CurrentLine))?;
                    if let Some((look, line)) = new {
                        let attribute = match look {
                            Look::Plain => Attribute::Reset,
                            Look::Bold => Attribute::Bold,
                            Look::Dim => Attribute::Dim,
                        };
                        queue!(
                            self.out,
                            SetAttribute(attribute),
                            Print(line),
                            SetAttribute(Attribute::Reset)
                        )?;
                    }
                }
            }
        }
        queue!(
            self.out,
            MoveTo(frame.column, 0),
            Show,
            EndSynchronizedUpdate
        )?;
        self.out.flush()?;
        self.shown = frame;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that went away needs nothing of this.
        let _ = execute!(self.out, DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        for panic in panics().take().into_iter().flatten() {
            let _ = writeln!(io::stderr(), "{panic}");
        }
    }
}

/// Keeps what panics say from now on until [`PANICS`] is taken.
fn keep_panics() {
    let before = panic::take_hook();
    *panics() = Some(Vec::new());
    panic::set_hook(Box::new(move |panic| match panics().as_mut() {
        Some(kept) => kept.push(panic.to_string()),
        None => before(panic),
    }));
}

fn panics() -> MutexGuard<'static, Option<Vec<String>>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}
