//! [`Scope`]: a future that runs as code of a job.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    context::{self, Phase, Surroundings},
    core::Core,
    handle::Job,
    limits::Limits,
};

pin_project! {
    /// A future that runs with a job as the current one. Made by `Job::scope`.
    #[must_use = "futures do nothing unless polled"]
    pub struct Scope<F> {
        job: Option<Arc<Core>>,
        surroundings: Surroundings,
        #[pin]
        future: F,
    }
}

impl Job {
    /// Makes this the current job while `future` is polled: for spawned work. The limits of this
    /// handle become the [`deadline`](Self::deadline) of the work, but nothing stops the work at
    /// it.
    ///
    /// A client stack that the future calls begins a child job.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        let surroundings = Surroundings {
            limits: self.until.map(Limits::until),
            signal: self.signal.clone(),
            execution: None,
        };
        Scope {
            job: self.core.clone(),
            surroundings,
            future,
        }
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = context::enter(this.job, Phase::Running);
        // Polled by the code of a shared execution, the future belongs to that execution; in a task
        // of its own it does not.
        this.surroundings.execution = context::shared_execution();
        this.surroundings.around(|| this.future.poll(cx))
    }
}

impl<F: fmt::Debug> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("job", &self.job)
            .field("future", &self.future)
            .finish_non_exhaustive()
    }
}
