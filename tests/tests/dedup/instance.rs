//! Which instance of the inner service an execution is served by.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceExt};
use tower_keep::{BoxError, DedupLayer};

use tower_keep_tests::*;

/// Knows how often it was cloned, and how often it was called itself.
#[derive(Debug, Default)]
struct Instance {
    clones: u32,
    calls: u32,
}

impl Clone for Instance {
    fn clone(&self) -> Self {
        Self {
            clones: self.clones + 1,
            calls: self.calls,
        }
    }
}

impl Service<u32> for Instance {
    type Response = (u32, u32);
    type Error = BoxError;
    type Future = Ready<Result<(u32, u32), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        self.calls += 1;
        ready(Ok((self.clones, self.calls)))
    }
}

fn key(request: &u32) -> Option<u32> {
    (*request > 0).then_some(*request)
}

/// R66 The instance that was called serves the execution, in every mode and without a key; a clone takes the next calls.
#[tokio::test(start_paused = true)]
async fn the_called_instance_serves_the_execution() {
    let mut reject = DedupLayer::new(key).layer(Instance::default());
    let mut join = DedupLayer::new(key).join().layer(Instance::default());
    let mut latest = DedupLayer::new(key).latest().layer(Instance::default());
    let mut debounce = DedupLayer::new(key)
        .debounce(ms(1))
        .layer(Instance::default());
    for (round, request) in [1, 0, 1, 2].into_iter().enumerate() {
        let expected = (u32::try_from(round).unwrap(), 1);
        for answer in [
            reject.ready().await.unwrap().call(request).await,
            join.ready().await.unwrap().call(request).await,
            latest.ready().await.unwrap().call(request).await,
            debounce.ready().await.unwrap().call(request).await,
        ] {
            assert_eq!(answer.unwrap(), expected);
        }
    }
}
