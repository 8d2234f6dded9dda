//! Standard input and output as pipes. Both may block for ever, so each has a thread of its own that nobody waits for.

use std::{
    io::{self, BufRead, Write},
    thread,
};

use tokio::sync::{mpsc, oneshot};

/// The lines of standard input. What is no UTF-8 is replaced in them.
pub(crate) fn lines() -> io::Result<mpsc::Receiver<io::Result<String>>> {
    // Few, so that a producer without end does not fill the memory.
    let (sender, lines) = mpsc::channel(16);
    thread::Builder::new().spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(String::from_utf8_lossy(&line).into_owned()),
                Err(error) => Err(error),
            };
            let is_last = read.is_err();
            if sender.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Standard output.
pub(crate) struct Output {
    texts: mpsc::UnboundedSender<String>,
    over: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(crate) fn new() -> io::Result<Self> {
        let (texts, mut written) = mpsc::unbounded_channel::<String>();
        let (ends, over) = oneshot::channel();
        thread::Builder::new().spawn(move || {
            let mut output = io::stdout().lock();
            let mut write = || {
                while let Some(text) = written.blocking_recv() {
                    output.write_all(text.as_bytes())?;
                    output.flush()?;
                }
                Ok(())
            };
            // Nobody waits for it where the program ends anyway.
            let _ = ends.send(write());
        })?;
        Ok(Self { texts, over })
    }

    pub(crate) fn write(&self, text: String) {
        // Whether it gets there is told by the others.
        let _ = self.texts.send(text);
    }

    /// Ready when no more can be written.
    pub(crate) async fn over(&mut self) -> io::Result<()> {
        written((&mut self.over).await)
    }

    /// Ready when all is written, or no more can be.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.texts);
        written(self.over.await)
    }
}

/// That nobody reads any more is no error.
fn written(result: Result<io::Result<()>, oneshot::error::RecvError>) -> io::Result<()> {
    match result {
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
