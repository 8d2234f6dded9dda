//! The dispatcher: begins jobs, and lists them while they run.

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, sync::oneshot};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use super::{
    dispatchable::Dispatchable,
    entry_service::{EntryService, SplitErrors, StackCall, TurnedAway},
    error::{JobError, TryDispatchError},
    handle::JobHandle,
    limit::{JobLimit, LimitPermit, Reservation},
    task::{Reply, Task},
};
use crate::{
    cancel::{CancelHandle, CancelLayer, NoGroup, StopOnDrop},
    event::{FailureCause, JobId, JobName},
    job::{
        Cancelled, ResponseFuture,
        core::{Core, Ending},
        id_source::{IdSource, Unidentified},
        membership::{Labels, Membership},
        name_source::NameSource,
    },
    progress::{JobView, ProgressHandle, ProgressLayer, Watch},
    reject::{Fail, OnReject},
    unshare::{Unshare, has_others},
};

/// Runs each call of a stack in a task of its own, so that the job outlives its caller.
///
/// A clone dispatches to the same: the limit, the board and the handles are shared. A setter on a dispatcher that is in
/// use, as by a clone, a handle or a job, gives a dispatcher with all of these of its own: configure first, then take
/// handles. So `clone().named(..)` for one request makes another dispatcher, which the limit
/// and the shutdown of the first do not reach: [`named_by`](Self::named_by) names each job by its request.
pub struct Dispatcher<S, N = JobName, I = Unidentified, O = Fail> {
    pub(super) stack: S,
    pub(super) name: N,
    pub(super) identify: I,
    pub(super) on_reject: O,
    pub(super) progress: ProgressLayer,
    pub(super) cancel: CancelLayer<NoGroup, StopOnDrop, SplitErrors>,
    pub(super) job_limit: Arc<JobLimit>,
    pub(super) runtime: Option<Handle>,
    /// Of this instance, for its next call as a service.
    pub(super) reservation: Reservation,
}

impl<S> Dispatcher<S> {
    /// Around this stack: jobs without a name, as many as come, no grace period.
    #[must_use]
    pub fn new(stack: S) -> Self {
        let mut dispatcher = Self {
            stack,
            name: JobName::EMPTY,
            identify: Unidentified,
            on_reject: Fail,
            progress: ProgressLayer::new(),
            cancel: CancelLayer::new().on_reject(SplitErrors),
            job_limit: Arc::default(),
            runtime: None,
            reservation: Reservation::None,
        };
        dispatcher.share_table();
        dispatcher
    }
}

impl<S, N, I, O> Dispatcher<S, N, I, O> {
    /// One table of the jobs for both layers, which a board reads.
    fn share_table(&mut self) {
        let table = self.progress.table();
        self.cancel.share(table);
        table.take();
    }

    /// The stack around which this dispatcher was made.
    pub fn get_ref(&self) -> &S {
        &self.stack
    }

    /// The stack, to change it: for the jobs that this instance, and later clones of it, dispatch from then on.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stack
    }

    /// Gives the stack back. Jobs that run go on.
    pub fn into_inner(self) -> S {
        self.stack
    }

    /// Reads the progress of the jobs: their latest states, how the last ones ended, each change.
    ///
    /// Configure first, then take handles: a setter on a dispatcher that has a handle gives another dispatcher, whose jobs
    /// this handle does not see.
    #[must_use]
    pub fn progress_handle(&self) -> ProgressHandle {
        self.progress.handle()
    }

    /// Cancels jobs by id, by predicate or all, and shuts the dispatcher down.
    ///
    /// Configure first, then take handles: a setter on a dispatcher that has a handle gives another dispatcher, which this
    /// handle does not reach.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.handle()
    }

    /// The running jobs as they are now, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        self.progress_handle().jobs()
    }

    /// What this job is doing, or how it ended, as long as the board's [history](Self::history) has it: for callers that
    /// have only its id. As [`ProgressHandle::find`].
    #[must_use]
    pub fn find(&self, job: JobId) -> Option<JobView> {
        self.progress_handle().find(job)
    }

    /// The jobs that have this external id, oldest first: what each is doing, or how it ended, as
    /// [`ProgressHandle::find_external`] says. [`CancelHandle::cancel_external`] cancels them.
    #[must_use]
    pub fn find_external(&self, external_id: &str) -> Vec<JobView> {
        self.progress_handle().find_external(external_id)
    }

    /// How many jobs are in flight: dispatched and not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.job_limit.in_flight()
    }

    /// How many more may begin now: neither in flight nor reserved. `None` without a limit.
    #[must_use]
    pub fn available(&self) -> Option<usize> {
        self.job_limit.free()
    }

    /// Begins a job, and returns at once. The job runs in a task of its own, in the current tracing span, whatever
    /// becomes of the handle and of the caller.
    ///
    /// At the [limit](Self::limit) the request is not executed: the job ends at once, as failed, and the handle says
    /// [`Full`](super::Full). After a shutdown it is cancelled at once.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`] does, unless it was given one to run [on](Self::on). No job begins
    /// then. A panic of the stack's `Clone` or of the closure that names or identifies the job goes on to the caller.
    #[track_caller]
    pub fn dispatch<Request>(&self, request: Request) -> JobHandle<S::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnReject<JobError, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        let runtime = self.runtime();
        match self.job_limit.try_take(&self.cancel.handle()) {
            // The Cancel layer turns it away, and counts it.
            Ok(permit) => self.begin(&runtime, request, permit),
            Err(TryDispatchError::ShutDown { .. }) => self.begin(&runtime, request, None),
            Err(TryDispatchError::Full { reason, .. }) => {
                self.turn_away(&request, JobError::Full(reason))
            }
        }
    }

    /// Begins a job, unless it would be turned away: then the request comes back and there is no job.
    ///
    /// # Errors
    ///
    /// [`TryDispatchError`] with the request, at the limit and after a shutdown.
    ///
    /// # Panics
    ///
    /// As [`dispatch`](Self::dispatch).
    #[track_caller]
    pub fn try_dispatch<Request>(
        &self,
        request: Request,
    ) -> Result<JobHandle<S::Response, O::Error>, TryDispatchError<Request>>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnReject<JobError, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        let runtime = self.runtime();
        match self.job_limit.try_take(&self.cancel.handle()) {
            Ok(permit) => Ok(self.begin(&runtime, request, permit)),
            Err(error) => Err(error.with_request(request)),
        }
    }

    #[track_caller]
    pub(super) fn runtime(&self) -> Handle {
        self.runtime.clone().unwrap_or_else(Handle::current)
    }

    pub(super) fn begin<Request>(
        &self,
        runtime: &Handle,
        request: Request,
        permit: LimitPermit,
    ) -> JobHandle<S::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnReject<JobError, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        // The user's code first: nothing has begun if it panics.
        let on_reject = self.on_reject.clone();
        let stack = self.stack.clone();
        let in_flight = self.job_limit.enter(permit);
        let (job, watch, work) = self.call(self.labels(&request), StackCall(stack, request));
        let (to, result) = oneshot::channel();
        let handle = JobHandle::new(Arc::clone(&job), watch, result);
        let shutdown = self.cancel.handle().hold();
        let task = Task::new(work, job, in_flight, shutdown, Reply { on_reject, to });
        runtime.spawn(task.in_current_span());
        handle
    }

    #[cold]
    pub(super) fn turn_away<Request>(
        &self,
        request: &Request,
        why: JobError,
    ) -> JobHandle<S::Response, O::Error>
    where
        S: Service<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnReject<JobError, S::Response, S::Error> + Clone,
    {
        let (job, watch, work) = self.call(self.labels(request), TurnedAway);
        let why = match job.reason() {
            // It was shut down just now.
            Some(reason) => JobError::Cancelled(Cancelled::of(job.id(), reason)),
            None => why,
        };
        job.end(None, || Ending::Failed {
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

    fn labels<Request>(&self, request: &Request) -> Labels
    where
        N: NameSource<Request>,
        I: IdSource<Request>,
    {
        Labels {
            name: Some(self.name.name(request)),
            external_id: self.identify.external_id(request),
        }
    }

    /// Calls the stack with the dispatcher's own layers around it. These are ready without being asked, as what is
    /// inside them is.
    fn call<Request>(&self, labels: Labels, request: Request) -> (Arc<Core>, Watch, Work<Request>)
    where
        EntryService: Service<Request, Error: fmt::Display>,
    {
        let mut layers = self.progress.layer(self.cancel.layer(EntryService));
        let (membership, job, future) = Membership::begin_apart(labels, || layers.call(request));
        let board = self.progress.handle();
        let watch = board
            .watch(job.id())
            .unwrap_or_else(|| Watch::unseen(job.id()));
        (job, watch, ResponseFuture::new(membership, future))
    }
}

/// A call through the dispatcher's own layers.
type Work<Request> = ResponseFuture<<Layers as Service<Request>>::Future>;

type Layers = crate::progress::Progress<
    crate::cancel::Cancel<EntryService, NoGroup, StopOnDrop, SplitErrors>,
>;

impl<S, N, I, O> Unshare for Dispatcher<S, N, I, O> {
    fn is_shared(&self) -> bool {
        has_others(&self.job_limit) || self.progress.is_shared() || self.cancel.is_shared()
    }

    fn renew(&mut self) {
        self.progress.renew();
        self.cancel.renew();
        self.share_table();
        self.job_limit = Arc::new(self.job_limit.renewed());
        // It holds a permit of the limit that is left behind.
        self.reservation = Reservation::None;
    }
}

impl<S: Clone, N: Clone, O: Clone, I: Clone> Clone for Dispatcher<S, N, I, O> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            name: self.name.clone(),
            identify: self.identify.clone(),
            on_reject: self.on_reject.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
            job_limit: Arc::clone(&self.job_limit),
            runtime: self.runtime.clone(),
            // What this instance waits for, or holds, is its own.
            reservation: Reservation::None,
        }
    }
}

impl<S: fmt::Debug, N: fmt::Debug, O, I: fmt::Debug> fmt::Debug for Dispatcher<S, N, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("stack", &self.stack)
            .field("name", &self.name)
            .field("external_id", &self.identify)
            .field("limit", &self.job_limit.limit())
            .field("cancel", &self.cancel)
            .field("progress", &self.progress)
            .field("in_flight", &self.in_flight())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}
