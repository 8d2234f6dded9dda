//! Unit tests of the body: its attempts, races between them, and a naive model.

use std::{
    collections::VecDeque,
    marker::PhantomPinned,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{NotReplayable, ReplayBody, Superseded};
use crate::error::{BoxError, find};

mod attempts;
mod model;
mod races;

/// What a body does in one poll.
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Pending,
    Error,
    /// Runs code in the middle of the poll, and continues with the next step.
    Run(Box<dyn FnOnce() + Send>),
    Panic,
}

pin_project! {
    /// A body that follows a script. It is not `Unpin`, as the bodies of async streams.
    struct Script {
        steps: VecDeque<Step>,
        // The size hint is exact.
        is_sized: bool,
        // It knows its end before the last poll.
        knows_end: bool,
        // Shared with the test, which sees the drop.
        alive: Arc<()>,
        #[pin]
        _pinned: PhantomPinned,
    }
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            is_sized: false,
            knows_end: false,
            alive: Arc::default(),
            _pinned: PhantomPinned,
        }
    }

    fn sized(mut self) -> Self {
        self.is_sized = true;
        self
    }

    fn left(&self) -> u64 {
        let data = self.steps.iter().map(|step| match step {
            Step::Data(data) => data.len() as u64,
            _ => 0,
        });
        data.sum()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let steps = self.project().steps;
        loop {
            return Poll::Ready(match steps.pop_front() {
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Pending) => return Poll::Pending,
                Some(Step::Error) => Some(Err("the file is gone".into())),
                Some(Step::Run(code)) => {
                    code();
                    continue;
                }
                Some(Step::Panic) => std::panic::resume_unwind(Box::new("the body panics")),
                None => None,
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_sized {
            true => SizeHint::with_exact(self.left()),
            false => SizeHint::new(),
        }
    }
}

/// What one poll of an attempt gave.
#[derive(Debug, PartialEq)]
enum Sent {
    Data(Vec<u8>),
    Trailers(HeaderMap),
    End,
    Pending,
    Superseded,
    NotReplayable,
    Error,
}

use Sent::{End, Pending};

fn data(data: &str) -> Sent {
    Sent::Data(data.into())
}

fn send(data: &'static str) -> Step {
    Step::Data(Bytes::from_static(data.as_bytes()))
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers
}

fn poll_with<B>(body: &mut ReplayBody<B>, waker: &Waker) -> Sent
where
    B: Body<Error = BoxError>,
{
    match Pin::new(body).poll_frame(&mut Context::from_waker(waker)) {
        Poll::Pending => Pending,
        Poll::Ready(None) => End,
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Sent::Data(data.into()),
            Err(frame) => Sent::Trailers(frame.into_trailers().unwrap()),
        },
        Poll::Ready(Some(Err(error))) if find::<Superseded>(&*error).is_some() => Sent::Superseded,
        Poll::Ready(Some(Err(error))) if find::<NotReplayable>(&*error).is_some() => {
            Sent::NotReplayable
        }
        Poll::Ready(Some(Err(error))) => {
            assert_eq!(error.to_string(), "the file is gone");
            Sent::Error
        }
    }
}

fn poll<B: Body<Error = BoxError>>(body: &mut ReplayBody<B>) -> Sent {
    poll_with(body, Waker::noop())
}

/// All data until the body ends, fails or waits, and how that was.
fn rest<B: Body<Error = BoxError>>(body: &mut ReplayBody<B>) -> (String, Sent) {
    let mut all = String::new();
    loop {
        match poll(body) {
            Sent::Data(data) => all += std::str::from_utf8(&data).unwrap(),
            other => return (all, other),
        }
    }
}

/// Counts its wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn wakes() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::<Wakes>::default();
    (Arc::clone(&wakes), Waker::from(wakes))
}
