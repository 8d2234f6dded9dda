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
/// Wherever a reason is asked for, a text will do: it becomes [`CancelReason::Other`].
#[derive(Clone)]
pub struct CancelHandle {
    pub(super) registry: Arc<Registry>,
    pub(super) external_token: Option<Arc<ExternalToken>>,
}

impl CancelHandle {
    /// Cancels this job, with [`CancelReason::Requested`]. `false` if it does not run, has its result already, or was
    /// cancelled before.
    pub fn cancel(&self, job: JobId) -> bool {
        self.cancel_because(job, CancelReason::Requested)
    }

    /// Cancels this job for this reason, as [`cancel`](Self::cancel) does. [`CancelReason::TimedOut`] is what a time limit
    /// says: a job that is cancelled with it and comes to its own end in the same poll keeps that.
    pub fn cancel_because(&self, job: JobId, reason: impl Into<CancelReason>) -> bool {
        let job = self.registry.find(job);
        job.is_some_and(|job| job.cancel(reason.into()))
    }

    /// Cancels every running job that has this [external id](crate::Event::external_id), for this reason, and says how many
    /// were not cancelled before.
    ///
    /// An external id need not be unique: all that have it are meant. The children of such a job are cancelled with it,
    /// as ever, whatever their own ids are. A job that begins meanwhile may be left out. This looks at every job.
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

    /// Cancels the running jobs that are meant, for this reason, and says how many were not cancelled before.
    ///
    /// A job that begins meanwhile may be left out. `meant` may use this handle.
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
        mut meant: impl FnMut(&RunningJob) -> bool,
    ) -> usize {
        cancel_each(self.registry.jobs(), &reason.into(), |job| {
            // It may have ended while `meant` looked at another.
            (!job.state().is_over() || job.state().works_on()) && meant(&RunningJob::of(job))
        })
    }

    /// Cancels every running job for this reason and says how many were not cancelled before.
    pub fn cancel_all(&self, reason: impl Into<CancelReason>) -> usize {
        cancel_each(self.registry.jobs(), &reason.into(), |_| true)
    }

    /// Turns away every new job from now on, with [`CancelReason::Shutdown`], and lets the running ones end within this
    /// time; then cancels those that are left, with the same reason, and waits for their end, grace period included.
    ///
    /// The layer is shut from this call on, and for good: there is no way back. The rest happens as the future is
    /// polled. It is ready as soon as the last job is over. Dropping it stops the waiting, so that nobody is cancelled
    /// at the deadline; the layer stays shut, and this can be called again. Where several wait, the nearest deadline
    /// counts, and all say the same.
    ///
    /// A job is over when its result went to its caller and its observers were told, and a dispatched one when its handle
    /// has the result. So a call whose future is kept but not polled keeps this waiting, as does the caller of this itself
    /// if it is such a job. A [detached](super::CancelLayer::detached) one is over with its work, whenever its caller asks
    /// for the result; and for a retry around this layer each attempt is a job to this: the next one is turned away.
    ///
    /// What a running job calls through this same layer is new too, and turned away: for its children use a layer of
    /// their own.
    #[must_use = "without it nobody waits for the running jobs, or cancels them at the deadline"]
    pub fn shutdown(
        &self,
        within: Duration,
    ) -> impl Future<Output = ShutdownReport> + Send + Unpin + use<> {
        self.registry.close();
        ShutdownFuture::new(Arc::clone(&self.registry), within)
    }

    /// Cancels every running job with [`CancelReason::Shutdown`] and turns away every new one with it, for good, and
    /// waits for nobody. Says how many jobs were not cancelled before.
    pub fn shutdown_now(&self) -> usize {
        self.registry.close();
        self.cancel_all(CancelReason::Shutdown)
    }

    /// Whether new jobs are turned away, since one of the above, or since a token that was given to
    /// [`shutdown_on`](super::CancelLayer::shutdown_on) before this handle was made.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        if let Some(external_token) = &self.external_token {
            external_token.look(&*self.registry);
        }
        self.registry.is_closed()
    }

    /// Keeps a shutdown waiting for more than the jobs.
    pub(crate) fn hold(&self) -> ShutdownHold {
        ShutdownHold::new(&self.registry)
    }

    /// Ready once new jobs are turned away.
    pub(crate) async fn closing(self) {
        let closed = self.registry.shutdown_token().cancelled();
        match &self.external_token {
            Some(external_token) if external_token.shuts_down() => {
                select(pin!(closed), pin!(external_token.token.cancelled())).await;
                external_token.look(&*self.registry);
            }
            _ => closed.await,
        }
    }

    /// The running jobs as they are now, oldest first.
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
