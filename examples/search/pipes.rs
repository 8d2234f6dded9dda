//! Standard input and output as pipes. Both may block for ever, so each has a thread of its own that nobody waits for.

use std::{
    future::Future,
    io::{self, BufRead, Read, Write},
    sync::Arc,
    thread,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How many lines wait to be asked, and how long one may be, its end included: a producer that does not end, or ends no
/// line, does not fill the memory.
const MOST_LINES: usize = 16;
const LONGEST_LINE: u64 = 64 << 10;
/// How many texts may wait to be written before no further line is asked.
const MOST_TEXTS: usize = 1000;

/// The lines of standard input. What is no UTF-8 is replaced in them.
pub(crate) fn lines() -> io::Result<mpsc::Receiver<io::Result<String>>> {
    let (sender, lines) = mpsc::channel(MOST_LINES);
    thread::Builder::new().spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let Some(read) = line(&mut input).transpose() else {
                return;
            };
            let is_last = read.is_err();
            if sender.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// The next line; `None` at the end.
fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut input = input.take(LONGEST_LINE + 1);
    match input.read_until(b'\n', &mut line)? as u64 {
        0 => Ok(None),
        1..=LONGEST_LINE => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        _ => Err(io::Error::other(format!(
            "a line is longer than {LONGEST_LINE} bytes"
        ))),
    }
}

/// Standard output.
pub(crate) struct Output {
    texts: mpsc::UnboundedSender<(String, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    over: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(crate) fn new() -> io::Result<Self> {
        Self::to(io::stdout())
    }

    fn to(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let (texts, mut written) = mpsc::unbounded_channel::<(String, _)>();
        let (ends, over) = oneshot::channel();
        thread::Builder::new().spawn(move || {
            let mut write = || {
                while let Some((text, _place)) = written.blocking_recv() {
                    output.write_all(text.as_bytes())?;
                    output.flush()?;
                }
                Ok(())
            };
            // Nobody waits for it where the program ends anyway.
            let _ = ends.send(write());
        })?;
        let room = Arc::new(Semaphore::new(MOST_TEXTS));
        Ok(Self { texts, room, over })
    }

    /// Writes this when its turn comes. What has ended is told though there be no room, which is asked for before more is
    /// begun.
    pub(crate) fn write(&self, text: String) {
        let place = Arc::clone(&self.room).try_acquire_owned().ok();
        // Whether it gets there is told by the others.
        let _ = self.texts.send((text, place));
    }

    /// Ready when not too much waits to be written. Nothing is lost if the future is dropped.
    pub(crate) fn room(&self) -> impl Future<Output = ()> + use<> {
        let room = Arc::clone(&self.room);
        async move {
            // It is never closed.
            let _ = room.acquire().await;
        }
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::task::unconstrained;

    use super::*;

    #[test]
    fn lines_of_any_kind() {
        let mut input = &b"one\n\ncaf\xe9\r\nlast"[..];
        for expected in ["one\n", "\n", "caf\u{fffd}\r\n", "last"] {
            assert_eq!(line(&mut input).unwrap().as_deref(), Some(expected));
        }
        assert_eq!(line(&mut input).unwrap(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let length = LONGEST_LINE as usize;
        let longest = "x".repeat(length - 1) + "\n";
        let mut input = longest.as_bytes();
        assert_eq!(line(&mut input).unwrap(), Some(longest.clone()));
        let error = line(&mut io::BufReader::new(io::repeat(b'x'))).unwrap_err();
        assert_eq!(error.to_string(), "a line is longer than 65536 bytes");
    }

    /// Writes only what it has been given leave to.
    struct Slow(std::sync::mpsc::Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn there_is_no_room_while_nobody_reads() {
        let (leave, slow) = std::sync::mpsc::channel();
        let output = Output::to(Slow(slow)).unwrap();
        let is_room = || unconstrained(output.room()).now_or_never().is_some();
        for _ in 0..MOST_TEXTS {
            assert!(is_room());
            output.write("text".to_owned());
        }
        output.write("told all the same".to_owned());
        assert!(!is_room());
        leave.send(()).unwrap();
        output.room().await;
        drop(leave);
        output.finish().await.unwrap();
    }
}
