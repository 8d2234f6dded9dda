//! Tests of drained bodies: how much of a scripted body is read.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

use super::{DrainBody, MAX_BYTES, MAX_FRAMES};
use crate::{
    BoxError,
    retry::{Jitter, RetryLayer, hook::DiscardOutcome},
};

/// A step of a body.
#[derive(Clone, Debug)]
enum Step {
    Data(usize),
    Trailers,
    /// Pending once. It wakes the task at once.
    Later,
    Fails,
    /// Pending for good.
    Stalls,
}

/// A body that follows a script, and counts what was read of it.
struct Scripted {
    steps: VecDeque<Step>,
    hint: SizeHint,
    /// The last step repeats for ever.
    is_endless: bool,
    read: Rc<Cell<usize>>,
    is_dropped: Rc<Cell<bool>>,
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            hint: SizeHint::new(),
            is_endless: false,
            read: Rc::default(),
            is_dropped: Rc::default(),
        }
    }

    fn endless(step: Step) -> Self {
        let mut body = Self::new([step]);
        body.is_endless = true;
        body
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let step = match self.is_endless {
            true => self.steps.front().cloned(),
            false => self.steps.pop_front(),
        };
        self.read.set(self.read.get() + 1);
        Poll::Ready(match step {
            None => None,
            Some(Step::Data(length)) => Some(Ok(Frame::data(vec![0; length].into()))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Step::Fails) => Some(Err("reset".into())),
            Some(Step::Later) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Stalls) => {
                self.steps.push_front(Step::Stalls);
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        // Not `Copy` in the lowest http-body.
        let mut hint = SizeHint::new();
        hint.set_lower(self.hint.lower());
        if let Some(upper) = self.hint.upper() {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.is_dropped.set(true);
    }
}

/// Drains the body until it is pending for good. Gives the number of polls of the body, and whether
/// the drain ended.
fn drain(response: Response<Scripted>) -> (usize, bool) {
    let read = Rc::clone(&response.body().read);
    let Some(drain) = DrainBody.discard(response) else {
        return (read.get(), true);
    };
    let mut drain = pin!(drain);
    let mut cx = Context::from_waker(Waker::noop());
    // A `Later` of a script is pending once.
    let ended = (0..1_000).any(|_| drain.as_mut().poll(&mut cx).is_ready());
    (read.get(), ended)
}

fn with_length(body: Scripted, length: &'static str) -> Response<Scripted> {
    let mut response = Response::new(body);
    let value = length.parse().unwrap();
    response.headers_mut().insert(CONTENT_LENGTH, value);
    response
}

/// A body is read to its end, trailers included.
#[test]
fn a_small_body_is_read_to_its_end() {
    let steps = [Step::Data(10), Step::Later, Step::Data(20), Step::Trailers];
    assert_eq!(drain(Response::new(Scripted::new(steps))), (5, true));
    // All that fits, and not a byte more.
    let max = usize::try_from(MAX_BYTES).unwrap();
    let fits = Scripted::new([Step::Data(max), Step::Trailers]);
    assert_eq!(drain(with_length(fits, "65536")), (3, true));
    let exceeds = Scripted::new([Step::Data(max), Step::Data(1), Step::Data(1)]);
    assert_eq!(drain(Response::new(exceeds)), (2, true));
}

/// A body that is empty or known to be too large is dropped unread.
#[test]
fn a_body_that_is_too_large_is_not_read() {
    assert_eq!(drain(Response::new(Scripted::new([]))), (0, true));
    // As for a response to `HEAD`: the length is of no body.
    assert_eq!(drain(with_length(Scripted::new([]), "10")), (0, true));
    let body = || Scripted::new([Step::Data(1)]);
    for length in ["65537", "18446744073709551615"] {
        assert_eq!(drain(with_length(body(), length)), (0, true), "{length}");
    }
    // A length that is no number says nothing.
    for length in ["many", "", "-1", "18446744073709551616"] {
        assert_eq!(drain(with_length(body(), length)), (2, true), "{length}");
    }
    let mut hinted = body();
    hinted.hint.set_lower(MAX_BYTES + 1);
    assert_eq!(drain(Response::new(hinted)), (0, true));
    let mut hinted = body();
    hinted.hint.set_lower(MAX_BYTES);
    assert_eq!(drain(Response::new(hinted)), (2, true));
}

/// Errors and endless bodies end the drain, also a body of empty frames.
#[test]
fn a_drain_ends() {
    let fails = Scripted::new([Step::Data(1), Step::Fails, Step::Data(1)]);
    assert_eq!(drain(Response::new(fails)), (2, true));
    let large = Scripted::endless(Step::Data(16 * 1024));
    assert_eq!(drain(Response::new(large)), (5, true));
    for step in [Step::Data(0), Step::Trailers] {
        let (read, ended) = drain(Response::new(Scripted::endless(step)));
        assert_eq!((read, ended), (MAX_FRAMES as usize + 1, true));
    }
    let stalled = Scripted::new([Step::Data(1), Step::Stalls]);
    assert!(!drain(Response::new(stalled)).1);
}

proptest! {
    /// Any body: read to its end, or until the first error or the first frame above a limit.
    #[test]
    fn a_body_is_read_up_to_the_limits(
        lengths in prop::collection::vec(prop_oneof![
            0..100_usize,
            1_000..20_000_usize,
            60_000..70_000_usize,
        ], 0..12),
        pauses in prop::collection::vec(any::<bool>(), 12),
        fails_at in prop::option::of(0..12_usize),
    ) {
        let mut steps = Vec::new();
        let mut expected = 0;
        let mut sum = 0;
        let mut is_over = false;
        for (at, &length) in lengths.iter().enumerate() {
            if pauses[at] {
                steps.push(Step::Later);
                expected += usize::from(!is_over);
            }
            expected += usize::from(!is_over);
            sum += length as u64;
            if fails_at == Some(at) {
                steps.push(Step::Fails);
                is_over = true;
            } else {
                steps.push(Step::Data(length));
                is_over |= sum > MAX_BYTES;
            }
        }
        // The end of the body.
        expected += usize::from(!is_over && !steps.is_empty());
        let body = Scripted::new(steps);
        let is_dropped = Rc::clone(&body.is_dropped);
        prop_assert_eq!(drain(Response::new(body)), (expected, true));
        prop_assert!(is_dropped.get());
    }
}

/// In a retry: a body that stalls is dropped when the wait ends, and adds nothing to it.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_not_waited_for() {
    let bodies = Rc::new(RefCell::new(Vec::<Rc<Cell<bool>>>::new()));
    let sent = Rc::clone(&bodies);
    let server = service_fn(move |_: Request<String>| {
        let mut sent = sent.borrow_mut();
        assert!(sent.iter().all(|is_dropped| is_dropped.get()));
        let body = Scripted::new([Step::Data(1), Step::Stalls]);
        sent.push(Rc::clone(&body.is_dropped));
        let mut response = Response::new(body);
        if sent.len() < 3 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        async { Ok::<_, BoxError>(response) }
    });
    let retry = RetryLayer::http()
        .base_delay(Duration::from_secs(1))
        .jitter(Jitter::None);
    let began = tokio::time::Instant::now();
    let response = retry
        .layer(server)
        .oneshot(Request::default())
        .await
        .unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(bodies.borrow().len(), 3);
    // The caller's body is whole.
    assert_eq!(response.body().read.get(), 0);
    let mut body = Box::pin(response.into_body());
    let first = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    assert_eq!(first.unwrap().unwrap().into_data().unwrap().len(), 1);
}
