//! The layer that names and identifies jobs, and the response future of the layers that only watch.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    id_source::{IdSource, IdentifyBy, Unidentified},
    membership::{Joining, Labels, LayerId, Membership, Watcher},
    name_source::{NameBy, NameSource},
    panic::before_service,
};
use crate::event::JobName;

/// Names the job of each call, and gives it an [id from outside](Self::identified_by); begins one where the stack has none.
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
pub struct JobLayer<N = JobName, I = Unidentified> {
    name: N,
    identify: I,
}

impl JobLayer {
    /// Names every job alike.
    #[must_use]
    pub fn new(name: impl Into<JobName>) -> Self {
        JobLayer {
            name: name.into(),
            identify: Unidentified,
        }
    }

    /// Gives the jobs no name: for a layer that [identifies](Self::identified_by) them.
    #[must_use]
    pub fn unnamed() -> Self {
        Self::new(JobName::EMPTY)
    }

    /// Names each job by its request.
    #[must_use]
    pub fn named_by<F, Request, Name>(name: F) -> JobLayer<NameBy<F>>
    where
        F: Fn(&Request) -> Name,
        Name: Into<JobName>,
    {
        JobLayer {
            name: NameBy(name),
            identify: Unidentified,
        }
    }
}

impl<N, I> JobLayer<N, I> {
    /// Gives each job an id from outside, found in its request: a request id, the number of an order, the id that a job
    /// engine has for its task. `None` and an empty text are no id.
    ///
    /// The id is in each [`Event`](crate::Event::external_id) of the job, in its views, in the lists of the cancel handle,
    /// and in the field `job.external_id` of each log record. The handles find and cancel jobs by it:
    /// [`ProgressHandle::find_external`](crate::progress::ProgressHandle::find_external),
    /// [`CancelHandle::cancel_external`](crate::cancel::CancelHandle::cancel_external). The code inside has it from
    /// [`Job::external_id`](crate::Job::external_id), to pass it on. [`JobId`](crate::JobId) says why that is no id for
    /// the outside.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Job, JobLayer};
    ///
    /// fn request_id<B>(request: &Request<B>) -> Option<String> {
    ///     let id = request.headers().get("x-request-id")?;
    ///     Some(id.to_str().ok()?.to_owned())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let service = ServiceBuilder::new()
    ///     .layer(JobLayer::named_by(|request: &Request<()>| request.uri().path().to_owned()).identified_by(request_id))
    ///     .service(service_fn(|_: Request<()>| async {
    ///         let id = Job::current().external_id();
    ///         Ok::<_, BoxError>(Response::new(id))
    ///     }));
    /// let request = Request::get("/orders").header("x-request-id", "7f3a").body(()).unwrap();
    /// let response = service.oneshot(request).await.unwrap();
    /// assert_eq!(response.into_body().as_deref(), Some("7f3a"));
    /// # });
    /// ```
    ///
    /// # Which job has which id
    ///
    /// - An id need not be unique. Where several jobs have the same, the handles find and cancel all of them.
    /// - A job keeps its first id: that of the dispatcher or of the outer one of two layers. An inner layer identifies a job
    ///   that has none. That may be at a later attempt, whose request has an id where the first had none.
    /// - A child job has its own id only. A job that joined another job's execution keeps its own.
    /// - Inside the layer that began the job, this one identifies it after its first event, as with its name: later events
    ///   carry the id, boards show it at once, and observers learn of it by
    ///   [`Observer::on_identified`](crate::Observer::on_identified).
    ///
    /// # What may be in it
    ///
    /// Any text. At most 256 bytes are kept, cut at a character: longer ids with the same beginning are the same id, here and
    /// where a handle is asked for one. The text goes to logs and views as it is, so it must not be a secret, such as a
    /// session's token. A subscriber of tracing escapes control characters; a sink of your own has to.
    ///
    /// # Panics
    ///
    /// A panic of the closure goes on to the caller, and ends the job if there is one; the service is not called.
    #[must_use]
    pub fn identified_by<F, Request, Id>(self, identify: F) -> JobLayer<N, IdentifyBy<F>>
    where
        F: Fn(&Request) -> Option<Id>,
        Id: Into<Arc<str>>,
    {
        JobLayer {
            name: self.name,
            identify: IdentifyBy(identify),
        }
    }
}

impl<S, N: Clone, I: Clone> Layer<S> for JobLayer<N, I> {
    type Service = JobService<S, N, I>;

    fn layer(&self, inner: S) -> Self::Service {
        JobService {
            inner,
            name: self.name.clone(),
            identify: self.identify.clone(),
            id: LayerId::next(),
        }
    }
}

impl<N: fmt::Debug, I: fmt::Debug> fmt::Debug for JobLayer<N, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobLayer")
            .field("name", &self.name)
            .field("external_id", &self.identify)
            .finish()
    }
}

/// Names and identifies the job of each call. Made by [`JobLayer`].
#[derive(Clone)]
pub struct JobService<S, N = JobName, I = Unidentified> {
    inner: S,
    name: N,
    identify: I,
    id: LayerId,
}

impl<S, N, I> JobService<S, N, I> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the service inside back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, N, I, Request> Service<Request> for JobService<S, N, I>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    N: NameSource<Request>,
    I: IdSource<Request>,
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
        let name =
            Membership::takes_name(self.id).then(|| before_service(|| self.name.name(&request)));
        let external_id = match I::IDENTIFIES && Membership::takes_external_id(self.id) {
            true => before_service(|| self.identify.external_id(&request)),
            false => None,
        };
        let joining = Joining {
            watcher: Watcher::Nothing,
            layer: self.id,
        };
        let labels = Labels { name, external_id };
        let (membership, future) =
            Membership::track_labelled(&joining, labels, || self.inner.call(request));
        ResponseFuture::new(membership, future)
    }
}

impl<S: fmt::Debug, N: fmt::Debug, I: fmt::Debug> fmt::Debug for JobService<S, N, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobService")
            .field("inner", &self.inner)
            .field("name", &self.name)
            .field("external_id", &self.identify)
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
        membership: Membership,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn new(membership: Membership, future: F) -> Self {
        Self { future, membership }
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
        let result = ready!(this.membership.run(|| this.future.poll(cx)));
        this.membership.finish(&result);
        Poll::Ready(result)
    }
}
