//! What a shell or a system sends to end a program.

use std::{future::poll_fn, io, task::Poll};

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
    #[cfg(unix)]
    HangUp,
}

impl Signal {
    /// What a shell reports for a process that it ended.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            #[cfg(unix)]
            Self::HangUp => 129,
        }
    }
}

/// The signals that come from now on.
pub(crate) struct Signals {
    #[cfg(unix)]
    sources: [(Signal, tokio::signal::unix::Signal); 3],
    #[cfg(windows)]
    interrupts: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    closes: tokio::signal::windows::CtrlClose,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            sources: [
                (Signal::Interrupt, signal(SignalKind::interrupt())?),
                (Signal::Terminate, signal(SignalKind::terminate())?),
                (Signal::HangUp, signal(SignalKind::hangup())?),
            ],
        })
    }

    #[cfg(windows)]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupts: tokio::signal::windows::ctrl_c()?,
            closes: tokio::signal::windows::ctrl_close()?,
        })
    }

    /// The next one. Nothing is lost if the future is dropped.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (signal, source) in &mut self.sources {
                if let Poll::Ready(Some(())) = source.poll_recv(cx) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next one. Nothing is lost if the future is dropped.
    #[cfg(windows)]
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            if let Poll::Ready(Some(())) = self.interrupts.poll_recv(cx) {
                Poll::Ready(Signal::Interrupt)
            } else if let Poll::Ready(Some(())) = self.closes.poll_recv(cx) {
                Poll::Ready(Signal::Terminate)
            } else {
                Poll::Pending
            }
        })
        .await
    }
}
