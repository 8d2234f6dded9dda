//! The setters of a dispatcher.

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

impl<S, N, I, O> Dispatcher<S, N, I, O> {
    fn with<M, P, J>(
        self,
        name: impl FnOnce(N) -> M,
        identify: impl FnOnce(I) -> J,
        on_reject: impl FnOnce(O) -> P,
    ) -> Dispatcher<S, M, J, P> {
        let new = self.unshared();
        Dispatcher {
            stack: new.stack,
            name: name(new.name),
            on_reject: on_reject(new.on_reject),
            identify: identify(new.identify),
            progress: new.progress,
            cancel: new.cancel,
            job_limit: new.job_limit,
            runtime: new.runtime,
            reservation: new.reservation,
        }
    }

    /// Names every job alike.
    #[must_use]
    pub fn named(self, name: impl Into<JobName>) -> Dispatcher<S, JobName, I, O> {
        self.with(|_| name.into(), same, same)
    }

    /// Names each job by its request.
    #[must_use]
    pub fn named_by<F, Request, Name>(self, name: F) -> Dispatcher<S, NameBy<F>, I, O>
    where
        F: Fn(&Request) -> Name,
        Name: Into<JobName>,
    {
        self.with(|_| NameBy(name), same, same)
    }

    /// Gives each job an id from outside, found in its request, as
    /// [`JobLayer::identified_by`](crate::JobLayer::identified_by) does: before the job's first event, also where it is
    /// turned away. Its id goes before that of a layer of the stack.
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
    pub fn identified_by<F, Request, Id>(self, identify: F) -> Dispatcher<S, N, IdentifyBy<F>, O>
    where
        F: Fn(&Request) -> Option<Id>,
        Id: Into<Arc<str>>,
    {
        self.with(same, |_| IdentifyBy(identify), same)
    }

    /// At most this many jobs in flight. Default: no limit.
    ///
    /// At the limit, [`dispatch`](Self::dispatch) and [`try_dispatch`](Self::try_dispatch) turn the request away, while
    /// [`reserve`](Self::reserve) and the dispatcher as a service wait.
    #[must_use]
    pub fn limit(mut self, jobs: NonZeroUsize) -> Self {
        self.unshare();
        self.job_limit = Arc::new(JobLimit::new(jobs));
        // A permit that is held already is of the limit before.
        self.reservation = Reservation::None;
        self
    }

    /// Lets a cancelled job run on for this long after its token fired, so that it can clean up. Default: it is dropped
    /// at once. See [`CancelLayer::grace`](crate::CancelLayer::grace).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.unshare();
        self.cancel = self.cancel.grace(grace);
        self
    }

    /// Keeps this many jobs that ended, the last ones, on the [board](Self::progress_handle). Default: 100. See
    /// [`ProgressLayer::history`](crate::ProgressLayer::history).
    #[must_use]
    pub fn history(mut self, jobs: usize) -> Self {
        self.unshare();
        self.progress = self.progress.history(jobs);
        self
    }

    /// Shuts the dispatcher down when this token is cancelled, and gives the running jobs this long to end. See
    /// [`CancelLayer::shutdown_on`](crate::CancelLayer::shutdown_on).
    #[must_use]
    pub fn shutdown_on(mut self, token: CancellationToken, within: Duration) -> Self {
        self.unshare();
        self.cancel = self.cancel.shutdown_on(token, within);
        self
    }

    /// Runs the jobs on this runtime. Default: on the one that the code that dispatches runs on.
    #[must_use]
    pub fn on(mut self, runtime: Handle) -> Self {
        self.unshare();
        self.runtime = Some(runtime);
        self
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> Dispatcher<S, N, I, FailWith<F>>
    where
        F: Fn(JobError) -> E,
    {
        self.with(same, same, |_| FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the stack's error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> Dispatcher<S, N, I, RespondWith<F>>
    where
        F: Fn(JobError) -> Response,
    {
        self.with(same, same, |_| RespondWith(respond))
    }
}
