//! The service behind the layers: it records the attempts, and passes them to the client.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::HeaderValue;
use tower_keep::{
    BoxError, Job,
    http::{HttpRequest, HttpResponse},
};
use tower_service::Service;

use super::{
    client::outcome,
    record::{Attempt, Outcome, World},
};

/// A client that records the attempts.
#[derive(Clone, Debug)]
pub(super) struct Attempts<S> {
    world: Arc<World>,
    client: S,
}

impl<S> Attempts<S> {
    pub(super) fn new(world: &Arc<World>, client: S) -> Self {
        Self {
            world: world.clone(),
            client,
        }
    }
}

impl<S, R> Service<R> for Attempts<S>
where
    S: Service<R, Response: HttpResponse, Error: Into<BoxError>, Future: Send + 'static>,
    R: HttpRequest,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.client.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let world = self.world.clone();
        let call = request.headers()["x-call"].to_str().unwrap();
        let call: u64 = call.parse().unwrap();
        let number = {
            let mut record = world.record();
            let attempts = record.attempts.entry(call).or_default();
            attempts.push(Attempt {
                begun: world.now(),
                ended: None,
                number: Job::current().attempt(),
                outcome: None,
            });
            attempts.len()
        };
        let headers = request.headers_mut();
        headers.insert("x-attempt", HeaderValue::from(number));
        let exchange = self.client.call(request);
        Box::pin(async move {
            let ending = Ending(&world, call, number - 1);
            let result = exchange.await.map_err(Into::into);
            ending.with(outcome(&result));
            result
        })
    }
}

/// Records when an attempt ended, also if it is dropped.
struct Ending<'a>(&'a World, u64, usize);

impl Ending<'_> {
    fn with(&self, outcome: Outcome) {
        let Self(world, call, index) = *self;
        world.record().attempts.get_mut(&call).unwrap()[index].outcome = Some(outcome);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let Self(world, call, index) = *self;
        let now = world.now();
        world.record().attempts.get_mut(&call).unwrap()[index].ended = Some(now);
    }
}
