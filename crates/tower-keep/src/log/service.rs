//! The service of the Log layer.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{future::ResponseFuture, layer::LogLayer, sink::Sink};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    job::membership::{Joining, LayerId, Membership, Watcher},
};

/// Logs the events of the job of each call. Made by [`LogLayer`].
#[derive(Clone, Debug)]
pub struct Log<S, C = ErrorsAsFailures> {
    inner: S,
    layer: LogLayer<C>,
    id: LayerId,
}

impl<S, C: Clone> Layer<S> for LogLayer<C> {
    type Service = Log<S, C>;

    fn layer(&self, inner: S) -> Log<S, C> {
        Log {
            inner,
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

impl<S, C> Log<S, C> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, Request> Service<Request> for Log<S, C>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let joining = Joining {
            watcher: Watcher::Observer {
                observer: &layer.observer,
                traced: matches!(layer.sink, Sink::Tracing),
            },
            layer: self.id,
        };
        let (membership, future) = Membership::track(&joining, || self.inner.call(request));
        ResponseFuture::new(membership, future, layer.classify.clone())
    }
}
