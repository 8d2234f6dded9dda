use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::{
    Elapsed, Job,
    limits::{InForce, Limits},
};
use crate::{
    error::BoxError,
    event::{EventKind, LimitScope, Report},
};

pin_project! {
    /// A named step of a job. Made by [`Job::step`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Step<F> {
        job: Job,
        name: Arc<str>,
        limit: Option<Duration>,
        begun: Option<Begun>,
        #[pin]
        sleep: Option<Sleep>,
        // `None` once the step is over: a step that timed out drops its work at once.
        #[pin]
        future: Option<F>,
    }
}

#[derive(Debug)]
struct Begun {
    number: u32,
    total: Option<u32>,
    /// With the limit it came from; `None` where there is none, or it lies past the end of time.
    deadline: Option<(Duration, Instant)>,
}

impl<F> Step<F> {
    pub(super) fn new(job: Job, name: Arc<str>, future: F) -> Self {
        Self {
            job,
            name,
            limit: None,
            begun: None,
            sleep: None,
            future: Some(future),
        }
    }

    /// Limits this step; goes before the layer's `step_limit`. The clock starts when the step is first polled.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl<F, T, E> Future for Step<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let core = this.job.core();
        if this.begun.is_none() {
            if let Err(cancelled) = this.job.checkpoint() {
                this.future.set(None);
                return Poll::Ready(Err(cancelled.into()));
            }
            let (number, total) = core.map_or((1, None), |core| core.next_step());
            if let Some(core) = core {
                core.touch();
                core.emit(|| EventKind::StepStarted {
                    name: Arc::clone(this.name),
                    number,
                    total,
                });
            }
            let limit = this
                .limit
                .or_else(|| core.and_then(|core| core.step_limit()));
            let deadline =
                limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
            *this.begun = Some(Begun {
                number,
                total,
                deadline,
            });
        }
        let Some(begun) = this.begun else {
            unreachable!("set above")
        };
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a step was polled after it was ready");
        };
        let polled = {
            let _in_force =
                (begun.deadline).map(|(_, deadline)| InForce::narrowed(Limits::until(deadline)));
            future.poll(cx)
        };
        if let Poll::Ready(result) = polled {
            this.future.set(None);
            if let Some(core) = core {
                core.touch();
            }
            if let (Ok(_), Some(core), Some(total)) = (&result, core, begun.total) {
                core.report(Report::step(begun.number, total));
            }
            return Poll::Ready(result.map_err(Into::into));
        }
        let Some((limit, deadline)) = begun.deadline else {
            return Poll::Pending;
        };
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(deadline)));
        }
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            // A busy step must not use up the budget that its own limit needs.
            ready!(Pin::new(&mut tokio::task::coop::unconstrained(sleep)).poll(cx));
        }
        let scope = LimitScope::Step(Arc::clone(this.name));
        if let Some(core) = core {
            core.touch();
            core.emit(|| EventKind::TimedOut {
                scope: scope.clone(),
                limit,
                dropped: true,
            });
        }
        this.future.set(None);
        Poll::Ready(Err(Elapsed::new(scope, limit, this.job.attempt()).into()))
    }
}

impl<F> fmt::Debug for Step<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("job", &self.job)
            .field("name", &self.name)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
