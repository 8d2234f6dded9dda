//! A layer of your own: it turns away what is too large. Retry leaves that alone, and Log says that
//! it was rejected. Run it: `cargo run --example own_layer`

use std::task::{Context, Poll};

use futures::future::{BoxFuture, TryFutureExt};
use tower::{Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn};
use tower_keep::reject::{Fail, OnReject, Rejected, mark_rejection};
use tower_keep::{BoxError, Event, EventKind, LogLayer, Rejection, RetryLayer};

#[derive(Clone)]
struct MaxSize<S, O>(S, usize, O); // the service, the limit; `Fail`, `FailWith` or `RespondWith`

impl<S, O> Service<&'static str> for MaxSize<S, O>
where
    S: Service<&'static str, Future: Send + 'static>,
    O: OnReject<Rejected, S::Response, S::Error> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = BoxFuture<'static, Result<S::Response, O::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        self.0.poll_ready(cx).map_err(|error| self.2.pass(error))
    }

    fn call(&mut self, text: &'static str) -> Self::Future {
        let on_reject = self.2.clone();
        if text.len() <= self.1 {
            let work = self.0.call(text);
            return Box::pin(work.map_err(move |error| on_reject.pass(error)));
        }
        Box::pin(async move {
            let result = on_reject.reject(Rejected::new("too large"));
            mark_rejection(&result, "too large"); // for the layers around, just before it returns
            result
        })
    }
}

#[tokio::main]
async fn main() {
    let (log, events) = std::sync::mpsc::channel();
    let log = move |event: &Event| drop(log.send(event.kind.clone()));
    let stack = ServiceBuilder::new()
        .layer(LogLayer::to(log))
        .layer(RetryLayer::for_clients().max_retries(1))
        .layer(layer_fn(|inner| MaxSize(inner, 10, Fail)))
        .service(service_fn(async |_| Err::<(), BoxError>("broken".into())));
    for (text, rejected) in [("small", false), ("much too large", true)] {
        let error = stack.clone().oneshot(text).await.unwrap_err();
        let kinds: Vec<EventKind> = events.try_iter().collect();
        println!("{text}: {error}");
        kinds.iter().for_each(|kind| println!("  {kind:?}"));
        let retried = kinds.iter().any(|kind| kind.name() == "retrying");
        assert_eq!(retried, !rejected);
        assert_eq!(Rejection::of(&*error).is_some(), rejected);
    }
}
