//! [`JobLayer`], which names and identifies jobs, and the response future of Progress and
//! `JobLayer`.

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
    call_end::{AtResponse, BeginsCall, Call, EndsCall},
    id_source::{IdSource, IdentifyBy, Unidentified},
    membership::{Joining, Labels, LayerId, Membership, Watcher},
    name_source::{NameBy, NameSource},
    panic::before_service,
};
use crate::event::JobName;

/// Gives the job of each call a name and an [external id](Self::identified_by). Begins a job if the
/// stack has none.
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
/// Put it outermost. If a layer around it, such as [`LogLayer`](crate::LogLayer), or a
/// [`Dispatcher`](crate::Dispatcher) has begun the job, this layer names that job. Later events
/// carry the name; the `dispatched` event does not. Progress boards show the name at once, and
/// observers get [`Observer::on_named`](crate::Observer::on_named).
///
/// A job keeps its first name:
///
/// - The dispatcher's name wins over any `JobLayer`, and an outer `JobLayer` over an inner one.
/// - Later attempts do not change the name.
/// - A job that has started without a name stays unnamed.
/// - A child job, of a stack that the job's code calls, has its own name.
#[derive(Clone)]
pub struct JobLayer<N = JobName, I = Unidentified, E = AtResponse> {
    name: N,
    identify: I,
    end: E,
}

impl JobLayer {
    /// Gives every job the same name.
    #[must_use]
    pub fn new(name: impl Into<JobName>) -> Self {
        JobLayer {
            name: name.into(),
            identify: Unidentified,
            end: AtResponse,
        }
    }

    /// Gives jobs no name: for a layer that only [identifies](Self::identified_by) them.
    #[must_use]
    pub fn unnamed() -> Self {
        Self::new(JobName::EMPTY)
    }

    /// Computes the name of each job from its request.
    #[must_use]
    pub fn named_by<F, Request, Name>(name: F) -> JobLayer<NameBy<F>>
    where
        F: Fn(&Request) -> Name,
        Name: Into<JobName>,
    {
        JobLayer {
            name: NameBy(name),
            identify: Unidentified,
            end: AtResponse,
        }
    }
}

impl<N, I, E> JobLayer<N, I, E> {
    /// Sets what ends the job.
    #[cfg(feature = "http")]
    pub(crate) fn ending<X>(self, end: X) -> JobLayer<N, I, X> {
        JobLayer {
            name: self.name,
            identify: self.identify,
            end,
        }
    }

    /// Computes the external id of each job from its request: a request id, an order number, or the
    /// id of a task in a job engine. `None` and an empty text are no id. [`JobId`](crate::JobId)
    /// explains why it is not an external id.
    ///
    /// The id appears in each [`Event`](crate::Event::external_id), in views, in the lists of the
    /// cancel handle, and in the log field `job.external_id`. The code inside reads it with
    /// [`Job::external_id`](crate::Job::external_id). Handles find and cancel jobs by it:
    /// [`ProgressHandle::find_external`](crate::progress::ProgressHandle::find_external),
    /// [`CancelHandle::cancel_external`](crate::cancel::CancelHandle::cancel_external).
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
    /// - Ids need not be unique. If several jobs share an id, the handles find and cancel all of
    ///   them.
    /// - A job keeps its first id: the dispatcher's, or the outer layer's. An inner layer
    ///   identifies a job that has none, also in a later attempt whose request has an id.
    /// - A child job has only its own id. A job that joins another job's execution keeps its own.
    /// - If another layer began the job, this layer identifies it after its first event, as with
    ///   the name. Later events carry the id, boards show it at once, and observers get
    ///   [`Observer::on_identified`](crate::Observer::on_identified).
    ///
    /// # Length and content
    ///
    /// Any text is an id. Longer ids are cut to at most 256 bytes, at a character boundary, here
    /// and in the handles' lookups. So long ids with the same beginning are the same id. The text
    /// appears unchanged in logs and views: do not use a secret, such as a session token.
    /// Subscribers of tracing escape control characters; a custom sink must do so itself.
    ///
    /// # Panics
    ///
    /// A panic of the closure reaches the caller and ends the job, if there is one. The service is
    /// not called.
    #[must_use]
    pub fn identified_by<F, Request, Id>(self, identify: F) -> JobLayer<N, IdentifyBy<F>, E>
    where
        F: Fn(&Request) -> Option<Id>,
        Id: Into<Arc<str>>,
    {
        JobLayer {
            name: self.name,
            identify: IdentifyBy(identify),
            end: self.end,
        }
    }
}

impl<S, N: Clone, I: Clone, E: Clone> Layer<S> for JobLayer<N, I, E> {
    type Service = JobService<S, N, I, E>;

    fn layer(&self, inner: S) -> Self::Service {
        JobService {
            inner,
            name: self.name.clone(),
            identify: self.identify.clone(),
            end: self.end.clone(),
            id: LayerId::next(),
        }
    }
}

impl<N: fmt::Debug, I: fmt::Debug, E> fmt::Debug for JobLayer<N, I, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobLayer")
            .field("name", &self.name)
            .field("external_id", &self.identify)
            .finish()
    }
}

/// Names and identifies the job of each call. Made by [`JobLayer`].
#[derive(Clone)]
pub struct JobService<S, N = JobName, I = Unidentified, E = AtResponse> {
    inner: S,
    name: N,
    identify: I,
    end: E,
    id: LayerId,
}

impl<S, N, I, E> JobService<S, N, I, E> {
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

impl<S, N, I, E, Request> Service<Request> for JobService<S, N, I, E>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    N: NameSource<Request>,
    I: IdSource<Request>,
    E: BeginsCall<Request> + EndsCall<S::Response> + Clone,
{
    type Response = E::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, E>;

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
        let is_bodiless = self.end.is_bodiless(&request);
        let labels = Labels { name, external_id };
        let (membership, future) =
            Membership::track_labelled(&joining, labels, || self.inner.call(request));
        ResponseFuture::new(membership.begun(is_bodiless), future, self.end.clone())
    }
}

impl<S: fmt::Debug, N: fmt::Debug, I: fmt::Debug, E> fmt::Debug for JobService<S, N, I, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobService")
            .field("inner", &self.inner)
            .field("name", &self.name)
            .field("external_id", &self.identify)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response future of Progress and `JobLayer`: polls the inner future within its job.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, E = AtResponse> {
        #[pin]
        future: F,
        end: E,
        membership: Membership,
    }
}

impl<F, E> ResponseFuture<F, E> {
    pub(crate) fn new(membership: Membership, future: F, end: E) -> Self {
        Self {
            future,
            end,
            membership,
        }
    }
}

impl<F, T, E, X> Future for ResponseFuture<F, X>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
    X: EndsCall<T>,
{
    type Output = Result<X::Response, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.membership.run(|| this.future.poll(cx)));
        match result {
            Ok(response) => Poll::Ready(Ok(this.end.finish(response, Call(this.membership)))),
            Err(error) => {
                let result = Err(error);
                this.membership.finish(&result);
                Poll::Ready(result)
            }
        }
    }
}
