//! `LogLayer::http`: what the log of an HTTP client says of each exchange.

mod compositions;
mod failures;
mod fields;
mod retries;
mod secrets;

use bytes::Bytes;
use http_body_util::Empty;
use tower_keep::{BoxError, EventKind, JobId, http::HttpExchange};
use tower_keep_test::{Recorder, Scripted};

type Request = http::Request<()>;
type Response = http::Response<Empty<Bytes>>;

fn get(uri: &str) -> Request {
    Request::get(uri).body(()).unwrap()
}

fn answer(status: u16) -> Response {
    http::Response::builder()
        .status(status)
        .body(Empty::new())
        .unwrap()
}

/// A server.
fn server() -> Scripted<Request, Response> {
    Scripted::new()
}

/// A server, behind a client that fails with boxed errors.
fn boxed_server() -> Scripted<Request, Response, BoxError> {
    Scripted::new()
}

/// The exchange of each event of this job.
fn exchanges(recorder: &Recorder, job: JobId) -> Vec<HttpExchange> {
    let events = recorder.events_of(job).into_iter();
    events
        .map(|event| event.http.expect("an exchange in each event"))
        .collect()
}

/// The name and the status of each event of this job. 0 stands for no status.
fn statuses(recorder: &Recorder, job: JobId) -> Vec<(&'static str, u16)> {
    let names = recorder.names_of(job).into_iter();
    let statuses = exchanges(recorder, job).into_iter();
    let statuses = statuses.map(|http| http.status.map_or(0, |status| status.as_u16()));
    names.zip(statuses).collect()
}

/// The error of the failed job; `None` if it succeeded.
#[track_caller]
fn failure(recorder: &Recorder) -> Option<String> {
    match recorder.terminal(recorder.job()).unwrap() {
        EventKind::Succeeded => None,
        EventKind::Failed { error, .. } => Some(error.to_string()),
        other => panic!("{other:?}"),
    }
}
