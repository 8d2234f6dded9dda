//! What ends a dispatched job: its response, or with `http()` the body of its response.

use std::{fmt, future::Future, sync::Arc};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    dispatchable::Dispatchable,
    entry_service::{EntryService, Failure, SplitErrors, StackCall},
};
use crate::{
    cancel::{Cancel, CancelLayer, NoGroup, StopOnDrop},
    job::{
        ResponseFuture,
        call_end::AtResponse,
        core::Core,
        membership::{Labels, Membership},
    },
    progress::{Progress, ProgressLayer, Watch},
};

/// What ends the jobs of a dispatcher around the stack `S`.
#[diagnostic::on_unimplemented(
    message = "the jobs of a dispatcher with `http()` cannot end with a response of `{S}`",
    label = "its calls are no HTTP exchanges with a body that can be followed",
    note = "its request has to be an `http::Request` or `reqwest::Request`, and its response an \
            `http::Response` with an `http_body::Body`, or `reqwest::Response`"
)]
pub trait EndsJob<S, Request>:
    HandleResponse<S::Response, Response: Send + 'static> + 'static
where
    S: Dispatchable<Request>,
{
    /// The work of the job's task.
    #[doc(hidden)]
    type Work: Future<Output = Result<Self::Response, Failure<S::Error>>> + Send + 'static;

    /// Begins the job, and calls the stack through the dispatcher's own layers.
    #[doc(hidden)]
    fn begin(layers: OwnLayers<'_>, call: StackCall<S, Request>) -> Begun<Self::Work>;
}

/// The response in the handle of a job. Apart from [`EndsJob`], so that the compiler can tell what
/// a stack lacks.
pub trait HandleResponse<T> {
    /// The stack's response, or one whose body ends the job.
    type Response;

    /// Turns a response that the dispatcher made into one for the handle.
    #[doc(hidden)]
    fn answer(response: T) -> Self::Response;
}

impl<T> HandleResponse<T> for AtResponse {
    type Response = T;

    fn answer(response: T) -> T {
        response
    }
}

/// The layers that each dispatcher has around its stack, and the labels of a job.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub struct OwnLayers<'a> {
    pub(super) progress: &'a ProgressLayer,
    pub(super) cancel: &'a CancelLayer<NoGroup, StopOnDrop, SplitErrors>,
    pub(super) labels: Labels,
}

/// A job that has begun.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub struct Begun<W> {
    pub(super) job: Arc<Core>,
    pub(super) watch: Watch,
    pub(super) work: W,
}

/// The service of these layers. `D`: what the Cancel layer does after the response head.
type Layers<D> = Progress<Cancel<EntryService, NoGroup, D, SplitErrors>>;

/// A call through these layers.
pub(super) type Work<Request, D = StopOnDrop, E = AtResponse> =
    ResponseFuture<<Layers<D> as Service<Request>>::Future, E>;

impl OwnLayers<'_> {
    /// Calls the stack so that the job ends with the response.
    pub(super) fn call<Request>(self, request: Request) -> Begun<Work<Request>>
    where
        EntryService: Service<Request, Error: fmt::Display>,
    {
        let cancel = self.cancel.layer(EntryService);
        self.call_through(cancel, request, false, AtResponse)
    }

    /// Calls the stack. The layers need no `poll_ready`: they and `EntryService` are always ready.
    pub(super) fn call_through<Request, D, E>(
        self,
        cancel: Cancel<EntryService, NoGroup, D, SplitErrors>,
        request: Request,
        is_bodiless: bool,
        end: E,
    ) -> Begun<Work<Request, D, E>>
    where
        Layers<D>: Service<Request>,
    {
        let mut layers = self.progress.layer(cancel);
        let (membership, job, future) =
            Membership::begin_apart(self.labels, || layers.call(request));
        let board = self.progress.handle();
        let watch = board
            .watch(job.id())
            .unwrap_or_else(|| Watch::unseen(job.id()));
        Begun {
            job,
            watch,
            work: ResponseFuture::new(membership.begun(is_bodiless), future, end),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<S, Request> EndsJob<S, Request> for AtResponse
where
    S: Dispatchable<Request>,
    Request: Send + 'static,
{
    type Work = Work<StackCall<S, Request>>;

    fn begin(layers: OwnLayers<'_>, call: StackCall<S, Request>) -> Begun<Self::Work> {
        layers.call(call)
    }
}
