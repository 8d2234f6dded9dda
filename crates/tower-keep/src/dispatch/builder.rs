//! The dispatcher's settings: names, ids, limit, grace period, history, shutdown, runtime, errors.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    dispatcher::Dispatcher,
    error::JobError,
    limit::{JobLimit, Reservation},
};
use crate::{
    event::JobName,
    job::{id_source::IdentifyBy, name_source::NameBy},
    reject::{FailWith, RespondWith},
    unshare::Unshare,
};

fn same<T>(same: T) -> T {
    same
}

impl<S, N, I, O, E> Dispatcher<S, N, I, O, E> {
    fn with<M, P, J>(
        self,
        name: impl FnOnce(N) -> M,
        identify: impl FnOnce(I) -> J,
        on_reject: impl FnOnce(O) -> P,
    ) -> Dispatcher<S, M, J, P, E> {
        let new = self.unshared();
        Dispatcher {
            stack: new.stack,
            name: name(new.name),
            on_reject: on_reject(new.on_reject),
            identify: identify(new.identify),
            end: new.end,
            progress: new.progress,
            cancel: new.cancel,
            job_limit: new.job_limit,
            runtime: new.runtime,
            reservation: new.reservation,
        }
    }

    /// Sets what ends a job.
    #[cfg(feature = "http")]
    pub(super) fn ending<X>(self, end: X) -> Dispatcher<S, N, I, O, X> {
        let new = self.unshared();
        Dispatcher {
            stack: new.stack,
            name: new.name,
            on_reject: new.on_reject,
            identify: new.identify,
            end,
            progress: new.progress,
            cancel: new.cancel,
            job_limit: new.job_limit,
            runtime: new.runtime,
            reservation: new.reservation,
        }
    }

    /// Gives all jobs the same name.
    #[must_use]
    pub fn named(self, name: impl Into<JobName>) -> Dispatcher<S, JobName, I, O, E> {
        self.with(|_| name.into(), same, same)
    }

    /// Names each job by its request.
    #[must_use]
    pub fn named_by<F, Request, Name>(self, name: F) -> Dispatcher<S, NameBy<F>, I, O, E>
    where
        F: Fn(&Request) -> Name,
        Name: Into<JobName>,
    {
        self.with(|_| NameBy(name), same, same)
    }

    /// Gives each job an external id, found in its request, as
    /// [`JobLayer::identified_by`](crate::JobLayer::identified_by) does.
    ///
    /// The job has the id before its first event, even if it is refused. This id takes precedence
    /// over that of a layer in the stack.
    ///
    /// ```
    /// use tower::service_fn;
    /// use tower_keep::{BoxError, CancelReason, Dispatcher};
    ///
    /// struct Order {
    ///     number: u64,
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let ship = service_fn(|_: Order| std::future::pending::<Result<(), BoxError>>());
    /// let jobs = Dispatcher::new(ship).identified_by(|order: &Order| Some(order.number.to_string()));
    ///
    /// let shipping = jobs.dispatch(Order { number: 4711 });
    /// assert_eq!(jobs.find_external("4711")[0].job, shipping.id());
    /// assert_eq!(jobs.cancel_handle().cancel_external("4711", CancelReason::Requested), 1);
    /// assert_eq!(shipping.await.unwrap_err().to_string(), "job cancelled: requested");
    /// # });
    /// ```
    #[must_use]
    pub fn identified_by<F, Request, Id>(self, identify: F) -> Dispatcher<S, N, IdentifyBy<F>, O, E>
    where
        F: Fn(&Request) -> Option<Id>,
        Id: Into<Arc<str>>,
    {
        self.with(same, |_| IdentifyBy(identify), same)
    }

    /// Limits the number of jobs in flight. Default: no limit.
    ///
    /// At the limit, [`dispatch`](Self::dispatch) and [`try_dispatch`](Self::try_dispatch) refuse
    /// the request. [`reserve`](Self::reserve) and the dispatcher as a service wait.
    #[must_use]
    pub fn limit(mut self, jobs: NonZeroUsize) -> Self {
        self.unshare();
        self.job_limit = Arc::new(JobLimit::new(jobs));
        // A permit held already belongs to the previous limit.
        self.reservation = Reservation::None;
        self
    }

    /// Gives a cancelled job this long to clean up after its token fired. Default: its work is
    /// dropped at once. See [`CancelLayer::grace`](crate::CancelLayer::grace).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.unshare();
        self.cancel = self.cancel.grace(grace);
        self
    }

    /// Keeps the last ended jobs, at most this many, on the [board](Self::progress_handle).
    /// Default: 100. See [`ProgressLayer::history`](crate::ProgressLayer::history).
    #[must_use]
    pub fn history(mut self, jobs: usize) -> Self {
        self.unshare();
        self.progress = self.progress.history(jobs);
        self
    }

    /// Shuts the dispatcher down when this token is cancelled, and gives the running jobs this long
    /// to end. See [`CancelLayer::shutdown_on`](crate::CancelLayer::shutdown_on).
    #[must_use]
    pub fn shutdown_on(mut self, token: CancellationToken, within: Duration) -> Self {
        self.unshare();
        self.cancel = self.cancel.shutdown_on(token, within);
        self
    }

    /// Runs the jobs on this runtime. Default: the runtime of the code that dispatches.
    #[must_use]
    pub fn on(mut self, runtime: Handle) -> Self {
        self.unshare();
        self.runtime = Some(runtime);
        self
    }

    /// Fails with an error of your own instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, X>(self, fail: F) -> Dispatcher<S, N, I, FailWith<F>, E>
    where
        F: Fn(JobError) -> X,
    {
        self.with(same, same, |_| FailWith(fail))
    }

    /// Answers with a response instead of an error, and keeps the stack's error type.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> Dispatcher<S, N, I, RespondWith<F>, E>
    where
        F: Fn(JobError) -> Response,
    {
        self.with(same, same, |_| RespondWith(respond))
    }
}
