//! The bytes of request bodies are progress of the job, without code in the job.

mod attempts;
mod connections;
mod frames;
mod jobs;
mod of_reqwest;
mod over_the_wire;
mod reports;
mod responses;

use std::{convert::Infallible, io, pin::pin};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use tower_keep::{BoxError, EventKind, Report};
use tower_keep_test::{Recorder, ms};

/// The most data of one frame.
const FRAME: usize = 64 * 1024;

const MIB: usize = 1 << 20;

/// The reports of the one job.
fn reports(recorder: &Recorder) -> Vec<Report> {
    let reports = recorder.kinds().into_iter().filter_map(|kind| match kind {
        EventKind::Progress(report) => Some(report),
        _ => None,
    });
    reports.collect()
}

/// The amounts of the one job's reports.
fn amounts(recorder: &Recorder) -> Vec<u64> {
    let reports = reports(recorder).into_iter();
    reports.map(|report| report.done().unwrap()).collect()
}

/// Splits amounts where they begin at zero again, and checks that they grow in between.
#[track_caller]
fn attempts(amounts: &[u64]) -> Vec<Vec<u64>> {
    let mut attempts = Vec::<Vec<u64>>::new();
    for amount in amounts {
        match (amount, attempts.last_mut()) {
            (0, _) | (_, None) => attempts.push(vec![*amount]),
            (_, Some(attempt)) => {
                assert!(attempt.last() <= Some(amount), "{amounts:?}");
                attempt.push(*amount);
            }
        }
    }
    attempts
}

/// Bytes of this length, each different from its neighbours.
fn data(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at % 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

fn whole(length: usize) -> Full<Bytes> {
    Full::new(data(length))
}

fn put<B>(body: B) -> Request<B> {
    Request::put("http://example.com/").body(body).unwrap()
}

/// This number of frames of 10 bytes, with an interval in milliseconds. The length is unknown.
fn frames(
    count: u64,
    each: u64,
) -> impl Body<Data = Bytes, Error = io::Error> + Send + Sync + 'static {
    StreamBody::new(sync_wrapper(futures::stream::unfold(
        0,
        move |sent| async move {
            if sent == count {
                return None;
            }
            tokio::time::sleep(ms(each)).await;
            let frame = Frame::data(Bytes::from_static(b"0123456789"));
            Some((Ok(frame), sent + 1))
        },
    )))
}

/// reqwest's bodies are `Sync`.
fn sync_wrapper<S: futures::Stream + Send + 'static>(
    stream: S,
) -> impl futures::Stream<Item = S::Item> + Send + Sync + 'static
where
    S::Item: Send + 'static,
{
    let stream = std::sync::Mutex::new(Box::pin(stream));
    futures::stream::poll_fn(move |cx| stream.lock().unwrap().as_mut().poll_next(cx))
}

/// Reads a body to its end, with a wait in milliseconds before each frame.
async fn read<B>(body: B, each: u64) -> Result<Vec<Bytes>, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let mut frames = Vec::new();
    loop {
        if each > 0 {
            tokio::time::sleep(ms(each)).await;
        }
        match body.frame().await.transpose().map_err(Into::into)? {
            Some(frame) => frames.extend(frame.into_data()),
            None => return Ok(frames),
        }
    }
}

/// A response without a body.
fn no_content() -> Response<Full<Bytes>> {
    answer(StatusCode::NO_CONTENT, "")
}

fn answer(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    response.body(Full::from(body)).unwrap()
}

/// The error of a body that cannot fail.
fn never(never: Infallible) -> io::Error {
    match never {}
}
