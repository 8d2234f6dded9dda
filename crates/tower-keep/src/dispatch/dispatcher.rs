//! `Dispatcher`: begins jobs in tasks of their own, finds and lists them.

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, sync::oneshot};
use tracing::Instrument as _;

use super::{
    dispatchable::{Dispatchable, OnJobError},
    entry_service::{SplitErrors, StackCall, TurnedAway},
    error::{JobError, TryDispatchError},
    handle::JobHandle,
    job_end::{Begun, EndsJob, OwnLayers},
    limit::{JobLimit, LimitPermit, Reservation},
    task::{Reply, Task},
};
use crate::{
    cancel::{CancelHandle, CancelLayer, NoGroup, StopOnDrop},
    event::{FailureCause, JobId, JobName},
    job::{
        Cancelled,
        call_end::AtResponse,
        core::Ending,
        id_source::{IdSource, Unidentified},
        membership::Labels,
        name_source::NameSource,
    },
    progress::{JobView, ProgressHandle, ProgressLayer},
    reject::Fail,
    unshare::{Unshare, has_others},
};

/// Runs each call of a stack in its own task, so that the job outlives its caller.
///
/// Clones share the limit, the board and the handles. A setter on a dispatcher that is in use, by a
/// clone, a handle or a job, returns a separate dispatcher: configure first, then take handles.
///
/// So `clone().named(..)` for one request makes another dispatcher, which the first one's limit and
/// shutdown do not reach. Use [`named_by`](Self::named_by) to name each job by its request.
pub struct Dispatcher<S, N = JobName, I = Unidentified, O = Fail, E = AtResponse> {
    pub(super) stack: S,
    pub(super) name: N,
    pub(super) identify: I,
    pub(super) on_reject: O,
    /// What ends a job.
    pub(super) end: E,
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
            end: AtResponse,
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

impl<S, N, I, O, E> Dispatcher<S, N, I, O, E> {
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
    pub fn dispatch<Request>(&self, request: Request) -> JobHandle<E::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
        E: EndsJob<S, Request>,
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
    ) -> Result<JobHandle<E::Response, O::Error>, TryDispatchError<Request>>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
        E: EndsJob<S, Request>,
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
    ) -> JobHandle<E::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
        E: EndsJob<S, Request>,
        Request: Send + 'static,
    {
        // User code first: if it panics, nothing has begun.
        let on_reject = self.on_reject.clone();
        let stack = self.stack.clone();
        let in_flight = self.job_limit.enter(permit);
        let begun = E::begin(self.own_layers(&request), StackCall(stack, request));
        let (to, result) = oneshot::channel();
        let handle = JobHandle::new(Arc::clone(&begun.job), begun.watch, result);
        let shutdown = self.cancel.handle().hold();
        let reply = Reply { on_reject, to };
        let task = Task::<E, _, _, _>::new(begun.work, begun.job, in_flight, shutdown, reply);
        runtime.spawn(task.in_current_span());
        handle
    }

    #[cold]
    pub(super) fn turn_away<Request>(
        &self,
        request: &Request,
        why: JobError,
    ) -> JobHandle<E::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
        E: EndsJob<S, Request>,
    {
        let Begun { job, watch, work } = self.own_layers(request).call(TurnedAway);
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
        Reply { on_reject, to }.send(|on_reject| on_reject.reject(why).map(E::answer));
        handle
    }

    fn own_layers<Request>(&self, request: &Request) -> OwnLayers<'_>
    where
        N: NameSource<Request>,
        I: IdSource<Request>,
    {
        OwnLayers {
            progress: &self.progress,
            cancel: &self.cancel,
            labels: Labels {
                name: Some(self.name.name(request)),
                external_id: self.identify.external_id(request),
            },
        }
    }
}

impl<S, N, I, O, E> Unshare for Dispatcher<S, N, I, O, E> {
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

impl<S: Clone, N: Clone, O: Clone, I: Clone, E: Clone> Clone for Dispatcher<S, N, I, O, E> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            name: self.name.clone(),
            identify: self.identify.clone(),
            on_reject: self.on_reject.clone(),
            end: self.end.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
            job_limit: Arc::clone(&self.job_limit),
            runtime: self.runtime.clone(),
            // A reservation belongs to one instance.
            reservation: Reservation::None,
        }
    }
}

impl<S: fmt::Debug, N: fmt::Debug, O, I: fmt::Debug, E> fmt::Debug for Dispatcher<S, N, I, O, E> {
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
