use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    entrance::{Apart, Call, Entrance, NoPlace},
    error::{Refusal, Refused, Unfinished},
    handle::JobHandle,
    places::{Permit, Places},
    service::Reservation,
    task::{Reply, Task},
};
use crate::{
    cancel::{CancelHandle, CancelLayer, NoGroup},
    event::{FailureCause, JobId, JobName},
    job::{
        Cancelled, NameBy, NameJob, ResponseFuture,
        core::{Core, Ending},
        seat::Seat,
    },
    progress::{JobView, ProgressHandle, ProgressLayer, Watch},
    reject::{Fail, FailWith, OnReject, RespondWith},
};

/// A stack whose calls can be dispatched. Implemented for every service that is `Clone` and whose parts can go to a
/// task of their own.
pub trait Stack<Request>:
    Service<
        Request,
        Response: Send + 'static,
        Error: fmt::Display + Send + 'static,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S, Request> Stack<Request> for S where
    S: Service<
            Request,
            Response: Send + 'static,
            Error: fmt::Display + Send + 'static,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// Runs each call of a stack in a task of its own, as a job that outlives its caller.
///
/// A clone dispatches to the same: the limit, the board and the handles are shared. The settings are for a new dispatcher:
/// set them before it is cloned.
pub struct Dispatcher<S, N = JobName, O = Fail> {
    pub(super) stack: S,
    pub(super) name: N,
    pub(super) on_reject: O,
    pub(super) progress: ProgressLayer,
    pub(super) cancel: CancelLayer<NoGroup, Apart>,
    pub(super) places: Arc<Places>,
    pub(super) runtime: Option<Handle>,
    /// Of this instance, for its next call as a service.
    pub(super) reservation: Reservation,
}

impl<S> Dispatcher<S> {
    /// Around this stack: jobs without a name, as many as come, no grace period.
    #[must_use]
    pub fn new(stack: S) -> Self {
        Self {
            stack,
            name: JobName::EMPTY,
            on_reject: Fail,
            progress: ProgressLayer::new(),
            cancel: CancelLayer::new().on_reject(Apart),
            places: Arc::default(),
            runtime: None,
            reservation: Reservation::None,
        }
    }
}

impl<S, N, O> Dispatcher<S, N, O> {
    fn with<M, P>(
        self,
        name: impl FnOnce(N) -> M,
        on_reject: impl FnOnce(O) -> P,
    ) -> Dispatcher<S, M, P> {
        Dispatcher {
            stack: self.stack,
            name: name(self.name),
            on_reject: on_reject(self.on_reject),
            progress: self.progress,
            cancel: self.cancel,
            places: self.places,
            runtime: self.runtime,
            reservation: self.reservation,
        }
    }

    /// Names every job alike.
    #[must_use]
    pub fn named(self, name: impl Into<JobName>) -> Dispatcher<S, JobName, O> {
        self.with(|_| name.into(), |on_reject| on_reject)
    }

    /// Names each job by its request.
    #[must_use]
    pub fn named_by<F, Request, Name>(self, name: F) -> Dispatcher<S, NameBy<F>, O>
    where
        F: Fn(&Request) -> Name,
        Name: Into<JobName>,
    {
        self.with(|_| NameBy(name), |on_reject| on_reject)
    }

    /// At most this many jobs in flight. Default: no limit.
    ///
    /// At the limit, [`dispatch`](Self::dispatch) and [`try_dispatch`](Self::try_dispatch) turn the request away, while
    /// [`reserve`](Self::reserve) and the dispatcher as a service wait.
    #[must_use]
    pub fn limit(mut self, jobs: NonZeroUsize) -> Self {
        self.places = Arc::new(Places::new(jobs));
        self
    }

    /// Lets a cancelled job run on for this long after its token fired, so that it can clean up. Default: it is dropped
    /// at once. See [`CancelLayer::grace`].
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.cancel = self.cancel.grace(grace);
        self
    }

    /// Keeps this many jobs that ended, the last ones, on the [`board`](Self::board). Default: 100. See
    /// [`ProgressLayer::history`].
    #[must_use]
    pub fn history(mut self, jobs: usize) -> Self {
        self.progress = self.progress.history(jobs);
        self
    }

    /// Shuts the dispatcher down when this token is cancelled, and gives the running jobs this long to end. See
    /// [`CancelLayer::shutdown_on`].
    #[must_use]
    pub fn shutdown_on(mut self, token: CancellationToken, within: Duration) -> Self {
        self.cancel = self.cancel.shutdown_on(token, within);
        self
    }

    /// Runs the jobs on this runtime. Default: on the one that the code that dispatches runs on.
    #[must_use]
    pub fn on(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> Dispatcher<S, N, FailWith<F>>
    where
        F: Fn(Unfinished) -> E,
    {
        self.with(|name| name, |_| FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the stack's error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> Dispatcher<S, N, RespondWith<F>>
    where
        F: Fn(Unfinished) -> Response,
    {
        self.with(|name| name, |_| RespondWith(respond))
    }

    // ===== what it shows =====

    /// Reads the progress of the jobs: their latest states, how the last ones ended, each change.
    #[must_use]
    pub fn board(&self) -> ProgressHandle {
        self.progress.handle()
    }

    /// Cancels jobs by id, by predicate or all, and shuts the dispatcher down.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.handle()
    }

    /// The running jobs as they are now, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        self.board().jobs()
    }

    /// What this job is doing, or how it ended, as long as the board's [history](Self::history) has it: for somebody who
    /// has only its id.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<JobView> {
        let board = self.board();
        // In this order, as a job goes from the one to the other.
        board
            .job(job)
            .or_else(|| board.history().into_iter().find(|view| view.job == job))
    }

    /// How many jobs are in flight: dispatched and not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.places.in_flight()
    }

    /// How many more may begin now: neither in flight nor reserved. `None` without a limit.
    #[must_use]
    pub fn available(&self) -> Option<usize> {
        self.places.free()
    }

    // ===== dispatching =====

    /// Begins a job, and returns at once. The job runs in a task of its own, whatever becomes of the handle and of the
    /// caller.
    ///
    /// At the [limit](Self::limit) the request is not executed: the job ends at once, as failed, and the handle says
    /// [`Full`](super::Full). After a shutdown it is cancelled at once.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`] does, unless it was given one to run [on](Self::on). No job begins
    /// then. A panic of the stack's `Clone` or of the closure that names the job goes on to the caller.
    #[track_caller]
    pub fn dispatch<Request>(&self, request: Request) -> JobHandle<S::Response, O::Error>
    where
        S: Stack<Request>,
        N: NameJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        let runtime = self.runtime();
        match self.places.try_take(&self.cancel.handle()) {
            // The Cancel layer turns it away, and counts it.
            Ok(permit) => self.begin(&runtime, request, permit),
            Err(Refusal::ShutDown(_)) => self.begin(&runtime, request, None),
            Err(Refusal::Full(full)) => self.turn_away(&request, Unfinished::Full(full)),
        }
    }

    /// Begins a job, unless it would be turned away: then the request comes back and there is no job.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the request, at the limit and after a shutdown.
    ///
    /// # Panics
    ///
    /// As [`dispatch`](Self::dispatch).
    #[track_caller]
    pub fn try_dispatch<Request>(
        &self,
        request: Request,
    ) -> Result<JobHandle<S::Response, O::Error>, Refused<Request>>
    where
        S: Stack<Request>,
        N: NameJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        let runtime = self.runtime();
        match self.places.try_take(&self.cancel.handle()) {
            Ok(permit) => Ok(self.begin(&runtime, request, permit)),
            Err(why) => Err(Refused { request, why }),
        }
    }

    /// Waits until there is a place for one more job, and keeps it. Who asked first is served first.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] with [`Shutdown`](crate::CancelReason::Shutdown) once the dispatcher is shut down, also for those
    /// that wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the turn to the next.
    pub async fn reserve(&self) -> Result<Place<'_, S, N, O>, Cancelled> {
        let permit = Arc::clone(&self.places).take(self.cancel.handle()).await?;
        Ok(Place {
            dispatcher: self,
            permit,
        })
    }

    /// Keeps a place for one more job, if there is one now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] at the limit, while others wait for a place, and after a shutdown.
    pub fn try_reserve(&self) -> Result<Place<'_, S, N, O>, Refusal> {
        let permit = self.places.try_take(&self.cancel.handle())?;
        Ok(Place {
            dispatcher: self,
            permit,
        })
    }

    #[track_caller]
    pub(super) fn runtime(&self) -> Handle {
        self.runtime.clone().unwrap_or_else(Handle::current)
    }

    pub(super) fn begin<Request>(
        &self,
        runtime: &Handle,
        request: Request,
        permit: Permit,
    ) -> JobHandle<S::Response, O::Error>
    where
        S: Stack<Request>,
        N: NameJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        // The user's code first: nothing has begun if it panics.
        let on_reject = self.on_reject.clone();
        let stack = self.stack.clone();
        let place = self.places.enter(permit);
        let (job, watch, work) = self.call(self.name.name(&request), Call(stack, request));
        let (to, result) = oneshot::channel();
        let handle = JobHandle::new(Arc::clone(&job), watch, result);
        runtime.spawn(Task::new(work, job, place, Reply { on_reject, to }));
        handle
    }

    #[cold]
    pub(super) fn turn_away<Request>(
        &self,
        request: &Request,
        why: Unfinished,
    ) -> JobHandle<S::Response, O::Error>
    where
        S: Service<Request>,
        N: NameJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error> + Clone,
    {
        let (job, watch, work) = self.call(self.name.name(request), NoPlace);
        let why = match job.cancelled_for() {
            // It was shut down just now.
            Some(reason) => Unfinished::Cancelled(Cancelled::of(job.id(), reason)),
            None => why,
        };
        job.end(|| Ending::Failed {
            cause: FailureCause::Rejected,
            error: why.to_string().into(),
        });
        drop(work);
        let (to, result) = oneshot::channel();
        let handle = JobHandle::new(job, watch, result);
        let on_reject = self.on_reject.clone();
        Reply { on_reject, to }.send(|on_reject| on_reject.reject(why));
        handle
    }

    /// Calls the stack with the dispatcher's own layers around it. These are ready without being asked, as what is
    /// inside them is.
    fn call<Request>(&self, name: JobName, request: Request) -> (Arc<Core>, Watch, Work<Request>)
    where
        Entrance: Service<Request, Error: fmt::Display>,
    {
        let mut layers = self.progress.layer(self.cancel.layer(Entrance));
        let (seat, job, future) = Seat::begin_apart(name, || layers.call(request));
        let board = self.progress.handle();
        let watch = board
            .watch(job.id())
            .unwrap_or_else(|| Watch::unseen(job.id()));
        (job, watch, ResponseFuture::new(seat, future))
    }
}

/// A call through the dispatcher's own layers.
type Work<Request> = ResponseFuture<<Layers as Service<Request>>::Future>;

type Layers = crate::progress::Progress<crate::cancel::Cancel<Entrance, NoGroup, Apart>>;

impl<S: Clone, N: Clone, O: Clone> Clone for Dispatcher<S, N, O> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            name: self.name.clone(),
            on_reject: self.on_reject.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
            places: Arc::clone(&self.places),
            runtime: self.runtime.clone(),
            // What this instance waits for, or holds, is its own.
            reservation: Reservation::None,
        }
    }
}

impl<S: fmt::Debug, N, O> fmt::Debug for Dispatcher<S, N, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("stack", &self.stack)
            .field("in_flight", &self.in_flight())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// Room for one job, kept until it is used or dropped. Made by [`Dispatcher::reserve`] and
/// [`try_reserve`](Dispatcher::try_reserve).
#[must_use = "it keeps others waiting until it is used or dropped"]
pub struct Place<'a, S, N = JobName, O = Fail> {
    dispatcher: &'a Dispatcher<S, N, O>,
    permit: Permit,
}

impl<S, N, O> Place<'_, S, N, O> {
    /// Begins a job in this place. Only a shutdown since then turns it away: the handle says
    /// [`Cancelled`].
    ///
    /// # Panics
    ///
    /// As [`Dispatcher::dispatch`].
    #[track_caller]
    pub fn dispatch<Request>(self, request: Request) -> JobHandle<S::Response, O::Error>
    where
        S: Stack<Request>,
        N: NameJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        let runtime = self.dispatcher.runtime();
        self.dispatcher.begin(&runtime, request, self.permit)
    }
}

impl<S, N, O> fmt::Debug for Place<'_, S, N, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}
