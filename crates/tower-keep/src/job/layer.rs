//! The layer that names jobs, and the response future of the layers that only watch.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    panic::before_service,
    seat::{Brings, Joining, LayerId, Seat},
};
use crate::event::JobName;

/// Names the job of each call; begins one where the stack has none.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_keep::{BoxError, Job, JobLayer};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = ServiceBuilder::new()
///     .layer(JobLayer::new("greet"))
///     .service(service_fn(|_: ()| async { Ok::<_, BoxError>(Job::current().name().to_owned()) }));
/// assert_eq!(service.oneshot(()).await.unwrap(), "greet");
/// # });
/// ```
///
/// Put it outermost. A layer around it, such as [`LogLayer`](crate::LogLayer), begins the job, and so does a
/// [`Dispatcher`](crate::Dispatcher) around the stack: then this layer names that job, in each event from then on. Its
/// `dispatched` event has no name. Boards of the Progress layer show the name at once, and any observer can learn it by
/// [`Observer::on_named`](crate::Observer::on_named).
///
/// A job keeps its first name: of two such layers in one stack the outer one names the job, a name given by the
/// dispatcher goes before both, and later attempts change nothing. Once the job has started without a name it has none.
/// A stack that the job's own code calls begins a child job, which this layer names.
#[derive(Clone)]
pub struct JobLayer<N = JobName> {
    name: N,
}

impl JobLayer {
    /// Names every job alike.
    #[must_use]
    pub fn new(name: impl Into<JobName>) -> Self {
        Self { name: name.into() }
    }

    /// Names each job by its request.
    #[must_use]
    pub fn named_by<F, Request, Name>(name: F) -> JobLayer<NameBy<F>>
    where
        F: Fn(&Request) -> Name,
        Name: Into<JobName>,
    {
        JobLayer { name: NameBy(name) }
    }
}

/// Names a job by its request. Made by [`JobLayer::named_by`].
#[derive(Clone)]
pub struct NameBy<F>(pub(crate) F);

impl<F> fmt::Debug for NameBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("from the request")
    }
}

/// Where a job's name comes from.
pub trait NameJob<Request> {
    /// The name for this request's job.
    fn name(&self, request: &Request) -> JobName;
}

impl<Request> NameJob<Request> for JobName {
    fn name(&self, _: &Request) -> JobName {
        self.clone()
    }
}

impl<F, Request, Name> NameJob<Request> for NameBy<F>
where
    F: Fn(&Request) -> Name,
    Name: Into<JobName>,
{
    fn name(&self, request: &Request) -> JobName {
        (self.0)(request).into()
    }
}

impl<S, N: Clone> Layer<S> for JobLayer<N> {
    type Service = JobService<S, N>;

    fn layer(&self, inner: S) -> Self::Service {
        JobService {
            inner,
            name: self.name.clone(),
            id: LayerId::next(),
        }
    }
}

impl<N: fmt::Debug> fmt::Debug for JobLayer<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobLayer")
            .field("name", &self.name)
            .finish()
    }
}

/// The service that [`JobLayer`] makes.
#[derive(Clone)]
pub struct JobService<S, N = JobName> {
    inner: S,
    name: N,
    id: LayerId,
}

impl<S, N, Request> Service<Request> for JobService<S, N>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    N: NameJob<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let name = Seat::takes_name(self.id).then(|| before_service(|| self.name.name(&request)));
        let joining = Joining {
            brings: Brings::Nothing,
            layer: self.id,
        };
        let (seat, future) = Seat::track_named(&joining, name, || self.inner.call(request));
        ResponseFuture::new(seat, future)
    }
}

impl<S: fmt::Debug, N: fmt::Debug> fmt::Debug for JobService<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobService")
            .field("inner", &self.inner)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response future of the layers that only watch: the inner one, polled in its job's scope.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        seat: Seat,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn new(seat: Seat, future: F) -> Self {
        Self { future, seat }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.seat.run(|| this.future.poll(cx)));
        this.seat.finish(&result);
        Poll::Ready(result)
    }
}
