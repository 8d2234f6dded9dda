//! The handle that cancels jobs and shuts the layer down.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::select;

use super::{
    external_token::ExternalToken,
    registry::{Registry, ShutdownHold, cancel_each, list},
    running_job::RunningJob,
    shutdown::ShutdownFuture,
    shutdown_report::ShutdownReport,
};
use crate::{
    event::{CancelReason, JobId},
    job::table::Owner,
};

/// Cancels the jobs of one [`CancelLayer`](super::CancelLayer) and its clones.
///
/// A method that takes a reason also takes a text, which becomes [`CancelReason::Other`].
#[derive(Clone)]
pub struct CancelHandle {
    pub(super) registry: Arc<Registry>,
    pub(super) external_token: Option<Arc<ExternalToken>>,
}

impl CancelHandle {
    /// Cancels this job, with [`CancelReason::Requested`].
    ///
    /// Returns `false` if the job is not running, already has its result, or was cancelled before.
    pub fn cancel(&self, job: JobId) -> bool {
        self.cancel_because(job, CancelReason::Requested)
    }

    /// Cancels this job for this reason, as [`cancel`](Self::cancel) does.
    ///
    /// [`CancelReason::TimedOut`] is the reason of a time limit. If a job is cancelled with it and
    /// gets its own result in the same poll, it keeps that result.
    pub fn cancel_because(&self, job: JobId, reason: impl Into<CancelReason>) -> bool {
        let job = self.registry.find(job);
        job.is_some_and(|job| job.cancel(reason.into()))
    }

    /// Cancels every running job that has this [external id](crate::Event::external_id), for this
    /// reason. Returns how many of them were not cancelled before.
    ///
    /// An external id need not be unique: all jobs that have it are cancelled, and so are their
    /// children, whatever their own ids. A job that begins meanwhile may be missed. This call looks
    /// at every running job.
    ///
    /// ```
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, CancelLayer, CancelReason, JobLayer};
    ///
    /// struct Order {
    ///     number: u64,
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let cancel = CancelLayer::new();
    /// let handle = cancel.handle();
    /// let mut orders = ServiceBuilder::new()
    ///     .layer(JobLayer::new("order").identified_by(|order: &Order| Some(order.number.to_string())))
    ///     .layer(cancel)
    ///     .service(service_fn(|_: Order| std::future::pending::<Result<(), BoxError>>()));
    ///
    /// let shipping = orders.ready().await?.call(Order { number: 4711 });
    /// assert_eq!(handle.cancel_external("4711", CancelReason::Requested), 1);
    /// assert_eq!(shipping.await.unwrap_err().to_string(), "job cancelled: requested");
    /// # Ok::<(), BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn cancel_external(&self, external_id: &str, reason: impl Into<CancelReason>) -> usize {
        let jobs = self.registry.find_external(external_id);
        cancel_each(jobs, &reason.into(), |_| true)
    }

    /// Cancels the running jobs that `picks` returns `true` for, with this reason. Returns how many
    /// of them were not cancelled before.
    ///
    /// A job that begins meanwhile may be missed. `picks` may use this handle.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let handle = tower_keep::CancelLayer::new().handle();
    /// handle.cancel_where("takes too long", |job| {
    ///     &*job.name == "report" && job.age > Duration::from_secs(60)
    /// });
    /// ```
    pub fn cancel_where(
        &self,
        reason: impl Into<CancelReason>,
        mut picks: impl FnMut(&RunningJob) -> bool,
    ) -> usize {
        cancel_each(self.registry.jobs(), &reason.into(), |job| {
            // The job may have ended while `picks` looked at another one.
            (!job.state().is_over() || job.state().works_on()) && picks(&RunningJob::of(job))
        })
    }

    /// Cancels every running job for this reason. Returns how many were not cancelled before.
    pub fn cancel_all(&self, reason: impl Into<CancelReason>) -> usize {
        cancel_each(self.registry.jobs(), &reason.into(), |_| true)
    }

    /// Shuts the layer down: refuses new jobs, and gives the running jobs this long to end.
    ///
    /// New jobs fail with [`CancelReason::Shutdown`]. At the deadline, the remaining jobs are
    /// cancelled with the same reason. The future is ready as soon as the last job is over, grace
    /// periods included.
    ///
    /// The layer is shut down from this call on, and cannot be reopened. The rest happens as the
    /// future is polled.
    ///
    /// The layer may be shut down several times: the nearest deadline counts, and all futures give
    /// the same report.
    ///
    /// # When a job is over
    ///
    /// - A job is over when its caller has the result and its observers have the last event. A
    ///   dispatched job is over when its handle has the result. With `Dispatcher::http` and
    ///   `CancelLayer::http`, it is over when its response body has ended too.
    /// - A call whose future is kept but not polled delays the shutdown. So does a job that awaits
    ///   this future itself.
    /// - A [detached](super::CancelLayer::detached) job is over with its work, whenever its caller
    ///   asks for the result.
    /// - For a retry around this layer, each attempt counts as a job: the next attempt is refused.
    /// - A call that a running job makes through this layer is new too, and refused. Use a separate
    ///   layer for child jobs.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, so that no job is cancelled at the deadline. The layer
    /// stays shut down.
    #[must_use = "unless polled, it does not cancel the running jobs at the deadline"]
    pub fn shutdown(
        &self,
        within: Duration,
    ) -> impl Future<Output = ShutdownReport> + Send + Unpin + use<> {
        self.registry.close();
        ShutdownFuture::new(Arc::clone(&self.registry), within)
    }

    /// Shuts the layer down without waiting: refuses new jobs for good, and cancels every running
    /// job, both with [`CancelReason::Shutdown`]. Returns how many jobs were not cancelled before.
    pub fn shutdown_now(&self) -> usize {
        self.registry.close();
        self.cancel_all(CancelReason::Shutdown)
    }

    /// Whether the layer is shut down and refuses new jobs.
    ///
    /// It also sees a token that was given to [`shutdown_on`](super::CancelLayer::shutdown_on)
    /// before this handle was made.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        if let Some(external_token) = &self.external_token {
            external_token.check(&*self.registry);
        }
        self.registry.is_closed()
    }

    /// Delays a shutdown beyond the end of the jobs.
    pub(crate) fn hold(&self) -> ShutdownHold {
        ShutdownHold::new(&self.registry)
    }

    /// Ready once new jobs are refused.
    pub(crate) async fn closing(self) {
        let closed = self.registry.shutdown_token().cancelled();
        match &self.external_token {
            Some(external_token) if external_token.shuts_down() => {
                select(pin!(closed), pin!(external_token.token.cancelled())).await;
                external_token.check(&*self.registry);
            }
            _ => closed.await,
        }
    }

    /// Lists the running jobs, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<RunningJob> {
        list(&self.registry.jobs())
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle")
            .field("running", &self.registry.len())
            .finish_non_exhaustive()
    }
}
