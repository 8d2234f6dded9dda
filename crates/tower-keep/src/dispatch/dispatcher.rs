//! `Dispatcher`: begins jobs in tasks of their own, finds and lists them.

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, sync::oneshot};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use super::{
    dispatchable::{Dispatchable, OnJobError},
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
        call_end::AtResponse,
        core::{Core, Ending},
        id_source::{IdSource, Unidentified},
        membership::{Labels, Membership},
        name_source::NameSource,
    },
    progress::{JobView, ProgressHandle, ProgressLayer, Watch},
    reject::{Fail, OnReject},
    unshare::{Unshare, has_others},
};

/// Runs each call of a stack in its own task, so that the job outlives its caller.
///
/// Clones share the limit, the board and the handles. A setter on a dispatcher that is in use, by a
/// clone, a handle or a job, returns a separate dispatcher: configure first, then take handles.
///
/// So `clone().named(..)` for one request makes another dispatcher, which the first one's limit and
/// shutdown do not reach. Use [`named_by`](Self::named_by) to name each job by its request.
pub struct Dispatcher<S, N = JobName, I = Unidentified, O = Fail> {
    pub(super) stack: S,
    pub(super) name: N,
    pub(super) identify: I,
    pub(super) on_reject: O,
    pub(super) progress: ProgressLayer,
    pub(super) cancel: CancelLayer<NoGroup, StopOnDrop, SplitErrors>,
    pub(super) job_limit: Arc<JobLimit>,
    pub(super) runtime: Option<Handle>,
    /// Belongs to this instance, for its next call as a service.
    pub(super) reservation: Reservation,
}

impl<S> Dispatcher<S> {
    /// Creates a dispatcher around this stack: jobs without names, no limit, no grace period.
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
    /// Both layers use one job table, which a board reads.
    fn share_table(&mut self) {
        let table = self.progress.table();
        self.cancel.share(table);
        table.take();
    }

    /// Gives access to the stack.
    pub fn get_ref(&self) -> &S {
        &self.stack
    }

    /// Gives mutable access to the stack. A change applies to later jobs of this instance and of
    /// its later clones.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stack
    }

    /// Gives the stack back. Running jobs continue.
    pub fn into_inner(self) -> S {
        self.stack
    }

    /// Returns a handle that reads the jobs' progress: their latest states, the last endings, and
    /// each change.
    ///
    /// Configure first, then take handles: a setter on a dispatcher with a handle returns another
    /// dispatcher, whose jobs this handle does not see.
    #[must_use]
    pub fn progress_handle(&self) -> ProgressHandle {
        self.progress.handle()
    }

    /// Returns a handle that cancels jobs by id, by predicate or all, and shuts the dispatcher
    /// down.
    ///
    /// Configure first, then take handles: a setter on a dispatcher with a handle returns another
    /// dispatcher, which this handle does not reach.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.handle()
    }

    /// Lists the running jobs, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        self.progress_handle().jobs()
    }

    /// Finds a job by its id: its current state, or how it ended while the board's
    /// [history](Self::history) keeps it. See [`ProgressHandle::find`].
    #[must_use]
    pub fn find(&self, job: JobId) -> Option<JobView> {
        self.progress_handle().find(job)
    }

    /// Finds the jobs with this external id, oldest first. See [`ProgressHandle::find_external`].
    /// [`CancelHandle::cancel_external`] cancels them.
    #[must_use]
    pub fn find_external(&self, external_id: &str) -> Vec<JobView> {
        self.progress_handle().find_external(external_id)
    }

    /// The number of jobs in flight: dispatched and not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.job_limit.in_flight()
    }

    /// The number of free permits, neither in flight nor reserved. `None` without a limit.
    #[must_use]
    pub fn available(&self) -> Option<usize> {
        self.job_limit.free()
    }

    /// Begins a job, and returns at once.
    ///
    /// The job runs in its own task, in the current tracing span. It continues if the handle is
    /// dropped or the caller ends.
    ///
    /// At the [limit](Self::limit) the request is not executed: the job ends at once, as failed,
    /// and the handle fails with [`Full`](super::Full). After a shutdown it is cancelled at once.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime, as [`tokio::spawn`] does, unless a runtime was set with
    /// [`on`](Self::on). No job begins then. A panic of the stack's `Clone`, or of the closure that
    /// names or identifies the job, continues in the caller.
    #[track_caller]
    pub fn dispatch<Request>(&self, request: Request) -> JobHandle<S::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
        Request: Send + 'static,
    {
        let runtime = self.runtime();
        match self.job_limit.try_take(&self.cancel.handle()) {
            // The Cancel layer refuses it, and counts it.
            Ok(permit) => self.begin(&runtime, request, permit),
            Err(TryDispatchError::ShutDown { .. }) => self.begin(&runtime, request, None),
            Err(TryDispatchError::Full { reason, .. }) => {
                self.turn_away(&request, JobError::Full(reason))
            }
        }
    }

    /// Begins a job, or returns the request if the job would be refused. Then there is no job.
    ///
    /// # Errors
    ///
    /// [`TryDispatchError`] with the request, at the limit or after a shutdown.
    ///
    /// # Panics
    ///
    /// Panics as [`dispatch`](Self::dispatch) does.
    #[track_caller]
    pub fn try_dispatch<Request>(
        &self,
        request: Request,
    ) -> Result<JobHandle<S::Response, O::Error>, TryDispatchError<Request>>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
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
        O: OnJobError<S::Response, S::Error>,
        Request: Send + 'static,
    {
        // User code first: if it panics, nothing has begun.
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
            // A shutdown came in between.
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

    /// Calls the stack through the dispatcher's own layers. They need no `poll_ready`: they and
    /// `EntryService` are always ready.
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
        (
            job,
            watch,
            ResponseFuture::new(membership, future, AtResponse),
        )
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
        // Its permit belongs to the previous limit.
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
            // A reservation belongs to one instance.
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
