//! The dispatcher: begins jobs, and lists them while they run.

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, sync::oneshot};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use super::{
    entrance::{Apart, Call, Entrance, NoPlace},
    error::{Refusal, Refused, Unfinished},
    handle::JobHandle,
    places::{Permit, Places, Reservation},
    stack::Stack,
    task::{Reply, Task},
};
use crate::{
    cancel::{CancelHandle, CancelLayer, NoGroup},
    event::{FailureCause, JobId, JobName},
    job::{
        Cancelled, IdentifyJob, NameJob, ResponseFuture, Unidentified,
        core::{Core, Ending},
        membership::{Labels, Membership},
    },
    progress::{JobView, ProgressHandle, ProgressLayer, Watch},
    reject::{Fail, OnReject},
    unshare::{Unshare, has_others},
};

/// Runs each call of a stack in a task of its own, as a job that outlives its caller.
///
/// A clone dispatches to the same: the limit, the board and the handles are shared. A setter on a dispatcher that is in
/// use, as by a clone, a handle or a job, gives a dispatcher with all of these of its own: configure first, then take
/// handles. So `clone().named(..)` for one request makes another dispatcher, which the limit
/// and the shutdown of the first do not reach: [`named_by`](Self::named_by) names each job by its request.
pub struct Dispatcher<S, N = JobName, O = Fail, I = Unidentified> {
    pub(super) stack: S,
    pub(super) name: N,
    pub(super) identify: I,
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
        let mut dispatcher = Self {
            stack,
            name: JobName::EMPTY,
            identify: Unidentified,
            on_reject: Fail,
            progress: ProgressLayer::new(),
            cancel: CancelLayer::new().on_reject(Apart),
            places: Arc::default(),
            runtime: None,
            reservation: Reservation::None,
        };
        dispatcher.share_table();
        dispatcher
    }
}

impl<S, N, O, I> Dispatcher<S, N, O, I> {
    /// One table of the jobs for both layers, which a board reads.
    fn share_table(&mut self) {
        let table = self.progress.table();
        self.cancel.share(table);
        table.take();
    }

    /// Reads the progress of the jobs: their latest states, how the last ones ended, each change.
    ///
    /// Configure first, then take handles: a setter on a dispatcher that has a handle gives another dispatcher, whose jobs
    /// this handle does not see.
    #[must_use]
    pub fn board(&self) -> ProgressHandle {
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
        self.board().jobs()
    }

    /// What this job is doing, or how it ended, as long as the board's [history](Self::history) has it: for somebody
    /// who has only its id.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<JobView> {
        self.board().find(job)
    }

    /// The jobs that have this external id, oldest first: what each is doing, or how it ended, as
    /// [`ProgressHandle::find_external`] says. [`CancelHandle::cancel_external`] cancels them.
    #[must_use]
    pub fn find_external(&self, external_id: &str) -> Vec<JobView> {
        self.board().find_external(external_id)
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
        S: Stack<Request>,
        N: NameJob<Request>,
        I: IdentifyJob<Request>,
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
        I: IdentifyJob<Request>,
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
        I: IdentifyJob<Request>,
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
        let (job, watch, work) = self.call(self.labels(&request), Call(stack, request));
        let (to, result) = oneshot::channel();
        let handle = JobHandle::new(Arc::clone(&job), watch, result);
        let shutdown = self.cancel.handle().hold();
        let task = Task::new(work, job, place, shutdown, Reply { on_reject, to });
        runtime.spawn(task.in_current_span());
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
        I: IdentifyJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error> + Clone,
    {
        let (job, watch, work) = self.call(self.labels(request), NoPlace);
        let why = match job.reason() {
            // It was shut down just now.
            Some(reason) => Unfinished::Cancelled(Cancelled::of(job.id(), reason)),
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
        N: NameJob<Request>,
        I: IdentifyJob<Request>,
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
        Entrance: Service<Request, Error: fmt::Display>,
    {
        let mut layers = self.progress.layer(self.cancel.layer(Entrance));
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

type Layers = crate::progress::Progress<crate::cancel::Cancel<Entrance, NoGroup, Apart>>;

impl<S, N, O, I> Unshare for Dispatcher<S, N, O, I> {
    fn is_shared(&self) -> bool {
        has_others(&self.places) || self.progress.is_shared() || self.cancel.is_shared()
    }

    fn renew(&mut self) {
        self.progress.renew();
        self.cancel.renew();
        self.share_table();
        self.places = Arc::new(self.places.renewed());
        // It holds a place that is left behind.
        self.reservation = Reservation::None;
    }
}

impl<S: Clone, N: Clone, O: Clone, I: Clone> Clone for Dispatcher<S, N, O, I> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            name: self.name.clone(),
            identify: self.identify.clone(),
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

impl<S: fmt::Debug, N: fmt::Debug, O, I: fmt::Debug> fmt::Debug for Dispatcher<S, N, O, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("stack", &self.stack)
            .field("name", &self.name)
            .field("external_id", &self.identify)
            .field("limit", &self.places.limit())
            .field("cancel", &self.cancel)
            .field("progress", &self.progress)
            .field("in_flight", &self.in_flight())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}
