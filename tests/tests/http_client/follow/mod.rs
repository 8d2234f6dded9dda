//! The job of an HTTP call ends with the response body: asks 18 and 22.

mod ends;
mod from_origin;
mod jobs;
mod progress;
mod readers;
mod reqwest_response;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tower_keep::{BoxError, EventKind, JobId, http::body::BodyEnd};
use tower_keep_test::Recorder;

/// What a body does when it is polled.
pub(super) enum Step {
    Data(&'static str),
    Trailers,
    Error(io::ErrorKind),
    /// Waits for the next poll, which the caller makes.
    Pends,
    Panics,
    /// Runs code, then goes on.
    Runs(Box<dyn FnMut() + Send + Sync>),
}

/// A body that does what the test says. It does not say when it is at its end.
#[derive(Default)]
pub(super) struct Steps {
    steps: VecDeque<Step>,
    hint: SizeHint,
    ends: bool,
}

impl Steps {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The exact length is known.
    pub(super) fn exact(mut self) -> Self {
        let data = self.steps.iter().map(|step| match step {
            Step::Data(data) => data.len() as u64,
            _ => 0,
        });
        self.hint = SizeHint::with_exact(data.sum());
        self
    }

    /// It says when it is at its end.
    pub(super) fn says_when_it_ends(mut self) -> Self {
        self.ends = true;
        self
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(data)) => {
                    if let Some(left) = self.hint.exact() {
                        self.hint = SizeHint::with_exact(left - data.len() as u64);
                    }
                    Some(Ok(Frame::data(Bytes::from(data))))
                }
                Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
                Some(Step::Error(kind)) => Some(Err(kind.into())),
                Some(Step::Pends) => return Poll::Pending,
                Some(Step::Panics) => panic!("the body broke"),
                Some(Step::Runs(mut code)) => {
                    code();
                    continue;
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// A request to a server.
pub(super) fn get() -> Request<String> {
    Request::get("http://example.com/")
        .body(String::new())
        .unwrap()
}

/// A server that answers with this status and body.
pub(super) fn server<B>(
    status: u16,
    body: B,
) -> impl tower::Service<
    Request<String>,
    Response = Response<B>,
    Error = BoxError,
    Future: Send + 'static,
> + Send
+ 'static
where
    B: Send + 'static,
{
    let mut response = Some(Response::builder().status(status).body(body).unwrap());
    tower::service_fn(move |_: Request<String>| {
        let response = response.take().expect("one call");
        async move { Ok::<_, BoxError>(response) }
    })
}

/// The one job's end: how, and how its body ended. `None`: it runs.
pub(super) fn ended(recorder: &Recorder) -> Option<(EventKind, Option<BodyEnd>)> {
    ended_of(recorder, recorder.job())
}

/// How this job ended, and its body.
pub(super) fn ended_of(recorder: &Recorder, job: JobId) -> Option<(EventKind, Option<BodyEnd>)> {
    let mut ends = recorder.events_of(job).into_iter();
    let end = ends.find(|event| event.kind.is_terminal())?;
    assert_eq!(ends.count(), 0, "nothing follows the end");
    let http = end.http.expect("the exchange");
    Some((end.kind, http.body))
}

/// The one job's end, shortly: `succeeded` or the error, and how the body ended.
pub(super) fn end(recorder: &Recorder) -> Option<(String, &'static str)> {
    let (kind, body) = ended(recorder)?;
    let how = match kind {
        EventKind::Succeeded => "succeeded".to_owned(),
        EventKind::Failed { error, .. } => error.to_string(),
        EventKind::Cancelled { reason, .. } => format!("cancelled: {reason}"),
        other => panic!("{other:?}"),
    };
    Some((how, body.map_or("-", BodyEnd::name)))
}

/// The result of a poll.
type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// Polls the body once.
pub(super) fn poll<B: Body + Unpin>(body: &mut B) -> Polled<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()))
}

pub(super) fn minute() -> std::time::Duration {
    tower_keep_test::secs(60)
}
