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
};

pin_project! {
    /// A future that is polled with a job as the current one. Made by [`Job::scope`](super::Job::scope).
    #[must_use = "futures do nothing unless polled"]
    pub struct Scope<F> {
        job: Option<Arc<Core>>,
        surroundings: Surroundings,
        #[pin]
        future: F,
    }
}

impl<F> Scope<F> {
    pub(super) fn new(job: Option<Arc<Core>>, surroundings: Surroundings, future: F) -> Self {
        Self {
            job,
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
