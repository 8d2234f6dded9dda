//! The job of a dispatched HTTP call ends with the response body.

mod cancelling;
mod compositions;
mod ends;
mod from_origin;
mod handles;
mod jobs;
mod permits;
mod shutdown;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use hyper::body::Body;
use tower::Service;
use tower_keep::{BoxError, Dispatcher, JobId, progress::JobState};

pub(super) const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// A client whose calls get these responses, in this order. After the last one, calls hang.
fn client<B: Send + 'static>(
    responses: impl IntoIterator<Item = Response<B>>,
) -> impl Service<Request<String>, Response = Response<B>, Error = BoxError, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    let mut responses: Vec<_> = responses.into_iter().collect();
    responses.reverse();
    let responses = Arc::new(Mutex::new(responses));
    tower::service_fn(move |_: Request<String>| {
        let response = responses.lock().unwrap().pop();
        async move {
            match response {
                Some(response) => Ok::<_, BoxError>(response),
                None => std::future::pending().await,
            }
        }
    })
}

/// A client whose one call gets this body, with status 200.
fn page<B: Send + 'static>(
    body: B,
) -> impl Service<Request<String>, Response = Response<B>, Error = BoxError, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    client([Response::new(body)])
}

/// Reads the rest of the body.
async fn read<B>(body: B) -> Result<String, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let read = http_body_util::BodyExt::collect(body).await;
    let read = read.map_err(Into::into)?.to_bytes();
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// What the board shows of the job.
fn state<S, N, I, O, E>(jobs: &Dispatcher<S, N, I, O, E>, job: JobId) -> JobState {
    jobs.find(job).expect("it is on the board").state
}

/// Everything is released, and the limit is as before.
#[track_caller]
fn assert_idle<S, N, I, O, E>(jobs: &Dispatcher<S, N, I, O, E>) {
    assert_eq!(jobs.in_flight(), 0, "in flight");
    assert!(jobs.jobs().is_empty(), "on the board");
    assert!(jobs.cancel_handle().jobs().is_empty(), "cancellable");
    assert!(jobs.available().is_none_or(|free| free > 0), "permits");
}
