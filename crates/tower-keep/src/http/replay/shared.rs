//! What the attempts share: the inner body, the record of what it has sent, and whose turn it is.
//!
//! No user code runs under the lock. The inner body is taken out while it is polled; bodies,
//! wakers, and data are dropped and woken after the lock is released.

use std::{
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};

use super::record::Record;
use crate::sync::{Mutex, MutexGuard};

pub(super) struct Shared<B> {
    state: Mutex<State<B>>,
    /// The cap in bytes.
    max: u64,
    /// The size of the whole body. It does not become known later: a transport must not send a
    /// body of unknown length with `Content-Length`, and so without trailers, the second time.
    size: SizeHint,
    watch: Option<Arc<Watch>>,
}

/// What a retry sees of a body without its type.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// No further attempt can send the whole body.
    pub(super) lost: AtomicBool,
    /// The next attempt is certain: earlier attempts read no further.
    pub(super) claimed: AtomicBool,
}

/// The position of one attempt in the body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// Its number among the attempts that began. 0: it has not begun.
    number: u64,
    /// The number of bytes that it has sent.
    pub(super) at: u64,
    pub(super) sent_trailers: bool,
}

struct State<B> {
    inner: Inner<B>,
    record: Record,
    trailers: Option<HeaderMap>,
    /// The record is incomplete: only the newest attempt can send the rest.
    sealed: bool,
    /// As [`Watch::claimed`].
    claimed: bool,
    /// The number of attempts that began. The last of them is the newest.
    newest: u64,
    /// Wakes the newest attempt.
    waker: Option<Waker>,
}

enum Inner<B> {
    Here(Pin<Box<B>>),
    /// An attempt polls it now.
    Taken,
    Ended,
    Failed,
}

/// What an attempt does next.
pub(super) enum Next<B> {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// Poll the inner body, and return it.
    Poll(Pin<Box<B>>),
    /// An older attempt polls the inner body now, and wakes this one afterwards.
    Wait,
    Superseded,
    NotReplayable,
}

/// The result of a poll of the inner body.
pub(super) enum Polled<'a, B> {
    Pending(Pin<Box<B>>, Waker),
    /// `rest` is `None` if this was the last frame.
    Frame {
        frame: FrameRef<'a>,
        rest: Option<Pin<Box<B>>>,
    },
    Ended,
    /// An error, or a panic.
    Failed,
}

pub(super) enum FrameRef<'a> {
    Data(&'a Bytes),
    Trailers(HeaderMap),
    /// A kind of frame that this library does not know, and so cannot repeat.
    Unknown,
}

/// What is dropped and woken once the lock is released.
struct Leftovers<B> {
    _inner: Option<Inner<B>>,
    _record: Option<Record>,
    _waker: Option<Waker>,
    wake: Option<Waker>,
}

impl<B> Default for Leftovers<B> {
    fn default() -> Self {
        Self {
            _inner: None,
            _record: None,
            _waker: None,
            wake: None,
        }
    }
}

impl<B> Leftovers<B> {
    fn release(mut self) {
        if let Some(waker) = self.wake.take() {
            waker.wake();
        }
    }
}

impl<B: Body> Shared<B> {
    pub(super) fn new(body: B, max: u64, watch: Option<Arc<Watch>>) -> Self {
        let size = body.size_hint();
        let inner = match body.is_end_stream() {
            true => Inner::Ended,
            false => Inner::Here(Box::pin(body)),
        };
        let sealed = size.lower() > max;
        let state = State {
            inner,
            record: Record::default(),
            trailers: None,
            sealed,
            claimed: false,
            newest: 0,
            waker: None,
        };
        Self {
            state: Mutex::new(state),
            max,
            size,
            watch,
        }
    }
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this attempt does next. Begins the attempt with its first call.
    pub(super) fn next(&self, attempt: &mut Attempt) -> Next<B> {
        let mut leftovers = Leftovers::<B>::default();
        let mut state = self.lock();
        if attempt.number == 0 {
            if state.sealed && state.newest > 0 {
                return Next::NotReplayable;
            }
            state.newest += 1;
            attempt.number = state.newest;
            state.claimed = false;
            if let Some(watch) = &self.watch {
                watch.claimed.store(false, Ordering::Release);
            }
            // The older attempt learns that it is superseded, and frees its connection.
            leftovers.wake = state.waker.take();
            if state.sealed {
                self.lose();
            }
        }
        let watched = |watch: &Arc<Watch>| watch.claimed.load(Ordering::Acquire);
        state.claimed |= self.watch.as_ref().is_some_and(watched);
        let next = state.next(attempt);
        drop(state);
        leftovers.release();
        next
    }

    /// Waits until the inner body is returned. `false` if it is there already.
    pub(super) fn wait(&self, attempt: &Attempt, waker: Waker) -> bool {
        let mut state = self.lock();
        let waits = matches!(state.inner, Inner::Taken) && state.is_newest(attempt);
        let unused = match waits {
            true => state.waker.replace(waker),
            false => Some(waker),
        };
        drop(state);
        drop(unused);
        waits
    }

    /// Returns the inner body after a poll. `false` if this attempt is superseded, and must not
    /// wait for the body any more.
    pub(super) fn polled(&self, attempt: &mut Attempt, polled: Polled<'_, B>) -> bool {
        let mut leftovers = Leftovers::default();
        let mut state = self.lock();
        let is_newest = state.is_newest(attempt);
        if !is_newest {
            leftovers.wake = state.waker.take();
        }
        match polled {
            Polled::Pending(inner, waker) => {
                state.inner = Inner::Here(inner);
                leftovers._waker = match is_newest {
                    true => state.waker.replace(waker),
                    false => Some(waker),
                };
            }
            Polled::Frame { frame, rest } => {
                let rest = match (&frame, rest) {
                    (FrameRef::Trailers(_), inner) => {
                        leftovers._inner = inner.map(Inner::Here);
                        Inner::Ended
                    }
                    (_, Some(inner)) => Inner::Here(inner),
                    (_, None) => Inner::Ended,
                };
                state.inner = rest;
                match frame {
                    FrameRef::Data(data) => {
                        let len = data.len() as u64;
                        if state.record.end() + len > self.max && !state.sealed {
                            self.seal(&mut state);
                        }
                        if state.sealed && is_newest {
                            // Nobody else can use the record.
                            leftovers._record = Some(state.record.forget(len));
                        } else {
                            // A newer attempt has still to send it, even above the cap.
                            state.record.push(data.clone());
                        }
                        attempt.at += len;
                    }
                    FrameRef::Trailers(trailers) => {
                        state.trailers = Some(trailers);
                        attempt.sent_trailers = true;
                    }
                    FrameRef::Unknown => self.seal(&mut state),
                }
            }
            Polled::Ended => state.inner = Inner::Ended,
            Polled::Failed => {
                state.inner = Inner::Failed;
                leftovers._record = Some(state.record.forget(0));
                self.seal(&mut state);
            }
        }
        drop(state);
        leftovers.release();
        is_newest
    }

    /// The attempt is dropped.
    pub(super) fn leave(&self, attempt: &Attempt) {
        if attempt.number == 0 {
            return;
        }
        let mut leftovers = Leftovers::default();
        let mut state = self.lock();
        if state.is_newest(attempt) {
            leftovers._waker = state.waker.take();
            if state.sealed && matches!(state.inner, Inner::Here(_)) {
                // Nobody can send the rest.
                leftovers._inner = Some(std::mem::replace(&mut state.inner, Inner::Failed));
                leftovers._record = Some(state.record.forget(0));
            }
        }
        drop(state);
        leftovers.release();
    }

    /// Whether an attempt that begins now sends the whole body.
    pub(super) fn is_replayable(&self) -> bool {
        let state = self.lock();
        !state.sealed || state.newest == 0
    }

    /// The next attempt is certain.
    #[cfg_attr(
        not(feature = "reqwest-0-13"),
        allow(dead_code, reason = "only reqwest needs it")
    )]
    pub(super) fn claim(&self) {
        self.lock().claimed = true;
    }

    pub(super) fn is_end(&self, attempt: &Attempt) -> bool {
        let state = self.lock();
        matches!(state.inner, Inner::Ended)
            && attempt.at == state.record.end()
            && (attempt.sent_trailers || state.trailers.is_none())
    }

    /// What the attempt has still to send.
    pub(super) fn size_hint(&self, attempt: &Attempt) -> SizeHint {
        let mut left = SizeHint::new();
        if let Some(upper) = self.size.upper() {
            left.set_upper(upper.saturating_sub(attempt.at));
        }
        left.set_lower(self.size.lower().saturating_sub(attempt.at));
        left
    }

    /// The number of bytes in the record.
    pub(super) fn recorded(&self) -> u64 {
        let state = self.lock();
        state.record.end() - state.record.start()
    }

    fn seal(&self, state: &mut State<B>) {
        state.sealed = true;
        self.lose();
    }

    fn lose(&self) {
        if let Some(watch) = &self.watch {
            watch.lost.store(true, Ordering::Release);
        }
    }
}

impl<B> State<B> {
    fn is_newest(&self, attempt: &Attempt) -> bool {
        attempt.number == self.newest
    }

    fn next(&mut self, attempt: &Attempt) -> Next<B> {
        if let Some(data) = self.record.at(attempt.at) {
            return Next::Data(data);
        }
        let is_newest = self.is_newest(attempt) && !self.claimed;
        let is_forgotten = attempt.at < self.record.start();
        match &self.inner {
            // An older attempt may send what is recorded to its end.
            Inner::Ended if !is_forgotten => match &self.trailers {
                Some(trailers) if !attempt.sent_trailers => Next::Trailers(trailers.clone()),
                _ => Next::End,
            },
            _ if !is_newest => Next::Superseded,
            Inner::Failed | Inner::Ended => Next::NotReplayable,
            Inner::Here(_) if is_forgotten => Next::NotReplayable,
            Inner::Taken => Next::Wait,
            Inner::Here(_) => match std::mem::replace(&mut self.inner, Inner::Taken) {
                Inner::Here(inner) => Next::Poll(inner),
                other => {
                    self.inner = other;
                    Next::Wait
                }
            },
        }
    }
}
