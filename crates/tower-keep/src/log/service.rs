//! The service of the Log layer.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    fields::{NoFields, ReadRequest, ReadResponse},
    future::ResponseFuture,
    layer::LogLayer,
    sink::Sink,
};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    job::{
        call_end::EndsCall,
        membership::{Joining, LayerId, Membership, Watcher},
    },
};

/// Logs the events of the job of each call. Made by [`LogLayer`].
#[derive(Clone, Debug)]
pub struct Log<S, C = ErrorsAsFailures, F = NoFields> {
    inner: S,
    layer: LogLayer<C, F>,
    id: LayerId,
}

impl<S, C: Clone, F: Clone> Layer<S> for LogLayer<C, F> {
    type Service = Log<S, C, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Log {
            inner,
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

impl<S, C, F> Log<S, C, F> {
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

impl<S, C, F, Request> Service<Request> for Log<S, C, F>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    C: Classify<S::Response, S::Error> + Clone,
    F: ReadRequest<Request> + ReadResponse<S::Response> + Clone,
{
    type Response = <F as EndsCall<S::Response>>::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C, F>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let traced = matches!(layer.sink, Sink::Tracing);
        let exchange = match F::READS && Membership::will_be_observed(traced) {
            true => layer.fields.exchange(&request),
            false => None,
        };
        let joining = Joining {
            watcher: Watcher::Observer {
                observer: &layer.observer,
                traced,
                exchange: exchange.as_ref(),
            },
            layer: self.id,
        };
        let is_bodiless = layer.fields.is_bodiless(&request);
        let (membership, future) = Membership::track(&joining, || self.inner.call(request));
        ResponseFuture::new(
            membership.begun(is_bodiless),
            future,
            layer.classify.clone(),
            layer.fields.clone(),
        )
    }
}
