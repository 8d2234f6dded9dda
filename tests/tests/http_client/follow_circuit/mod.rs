//! A circuit follows the body: a body that fails counts as one more failure.

mod compositions;
mod from_origin;
mod heads;
mod late_failures;

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Service, service_fn};
use tower_keep::{
    BoxError,
    circuit_breaker::{CircuitBreakerHandle, CircuitsHandle},
    http::Authority,
};

use super::follow::{
    Step::{self, Data, Error},
    Steps,
};

/// A server that answers with these responses, one for each call.
pub(super) fn server(
    replies: impl IntoIterator<Item = (u16, Vec<Step>)>,
) -> impl Service<Request<String>, Response = Response<Steps>, Error = BoxError, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    let replies: Vec<_> = replies.into_iter().collect();
    let replies = Arc::new(Mutex::new(replies.into_iter()));
    service_fn(move |_: Request<String>| {
        let (status, steps) = replies.lock().unwrap().next().expect("a reply");
        let response = Response::builder().status(status);
        let response = response.body(Steps::new(steps)).unwrap();
        async move { Ok::<_, BoxError>(response) }
    })
}

pub(super) fn page() -> Vec<Step> {
    vec![Data("a "), Data("page")]
}

pub(super) fn cut() -> Vec<Step> {
    vec![Data("a "), Error(io::ErrorKind::UnexpectedEof)]
}

/// The one circuit.
pub(super) fn circuit(circuits: &CircuitsHandle<Authority>) -> CircuitBreakerHandle {
    let key = "example.com:80".parse().unwrap();
    circuits.get(&key).expect("the circuit of the server")
}

/// The failures in a row that the circuit counts.
pub(super) fn in_a_row(circuits: &CircuitsHandle<Authority>) -> u32 {
    circuit(circuits).snapshot().failures_in_a_row
}

/// Reads the body. Returns the text of its error.
pub(super) async fn read<B>(response: Response<B>) -> Result<(), String>
where
    B: hyper::body::Body<Error = BoxError>,
{
    let read = response.into_body().collect().await;
    read.map(drop).map_err(|error| error.to_string())
}
