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
    /// Ready when the thread is over.
    over: oneshot::Receiver<()>,
}

impl Output {
    pub(crate) fn new() -> io::Result<Self> {
        let (texts, mut written) = mpsc::unbounded_channel::<String>();
        let (ends, over) = oneshot::channel();
        thread::Builder::new().spawn(move || {
            let _ends: oneshot::Sender<()> = ends;
            let mut output = io::stdout().lock();
            while let Some(text) = written.blocking_recv() {
                let result = output
                    .write_all(text.as_bytes())
                    .and_then(|()| output.flush());
                if result.is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { texts, over })
    }

    pub(crate) fn write(&self, text: String) {
        // Whether anybody reads is told by `closed`.
        let _ = self.texts.send(text);
    }

    /// Nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.texts.closed().await;
    }

    /// Waits until all is written, or nobody reads any more.
    pub(crate) async fn finish(self) {
        drop(self.texts);
        let _ = self.over.await;
    }
}
