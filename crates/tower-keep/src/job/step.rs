//! A named part of a job's work.

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
    context,
    core::{
        Core,
        steps::{self, Broken},
    },
    error::Elapsed,
    halt::Halt,
    handle::Job,
    limits::Limits,
    verdict::StopKind,
};
use crate::{
    error::BoxError,
    event::{EventKind, LimitScope},
};

pin_project! {
    /// A named step of a job. Made by [`Job::step`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Step<F> {
        job: Job,
        name: Arc<str>,
        limit: Option<Duration>,
        grace: Option<Duration>,
        begun: Option<Begun>,
        // For the limit, then for the grace period.
        #[pin]
        sleep: Option<Sleep>,
        // `None` once the step is over: a step that timed out drops its work at once.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Step<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(begun) = this.begun {
                begun.close(this.job, |core, key| core.break_step(key, Broken::Dropped));
            }
        }
    }
}

struct Begun {
    /// Until it is over; without a job there is none.
    key: Option<steps::Key>,
    /// With the limit it came from; `None` where there is none, or it lies past the end of time.
    deadline: Option<(Duration, Instant)>,
    /// Tells the step's code to stop, where it is to have a grace period.
    halt: Option<Arc<Halt>>,
    in_grace: bool,
}

impl Begun {
    /// Tells the job that the step is over, once.
    fn close(&mut self, job: &Job, how: impl FnOnce(&Core, steps::Key)) {
        if let (Some(core), Some(key)) = (job.core(), self.key.take()) {
            how(core, key);
        }
    }
}

impl Job {
    /// Runs one named step: a [`checkpoint`](Self::checkpoint) before it, a time limit over it, a report after it.
    ///
    /// It begins when it is first polled, and takes the next number then. Every event that its code causes carries its
    /// name and number, as does the job's failure or cancellation if it is what the job fails or is stopped in. The name
    /// may be any text; it is shared, not copied, and an `Arc<str>` costs nothing.
    ///
    /// The limit is the one that [`Step::limit`] gives, else the one that the Timeout layer's `step_limit` set, else
    /// none.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](super::Cancelled) if the job was cancelled before the step began, [`Elapsed`] if the limit expired, else the
    /// step's own error; all as a [`BoxError`](BoxError).
    ///
    /// # Cancel safety
    ///
    /// Dropping the step drops its future. Events that follow name this step, until another begins.
    pub fn step<F, T, E>(&self, name: impl Into<Arc<str>>, future: F) -> Step<F>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        Step::new(self.clone(), name.into(), future)
    }
}

impl<F> Step<F> {
    fn new(job: Job, name: Arc<str>, future: F) -> Self {
        Self {
            job,
            name,
            limit: None,
            grace: None,
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

    /// At the limit, tells the step's code to stop and lets it run on for this long; then it is dropped. The step fails
    /// with [`Elapsed`] either way. The code sees it by a handle that it takes itself, with [`Job::current`]; the rest
    /// of the job is not meant. Without a job there is nobody to tell, and no grace. Default: it is dropped at the
    /// limit.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = (!grace.is_zero()).then_some(grace);
        self
    }

    /// Tells the job that the step begins.
    fn begin(job: &Job, name: &Arc<str>, limit: Option<Duration>, graced: bool) -> Begun {
        let core = job.core();
        let key = core.map(|core| {
            core.touch();
            core.begin_step(name, context::step_of(core.id()))
        });
        let limit = limit.or_else(|| core.and_then(|core| core.step_limit()));
        let deadline = limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
        Begun {
            key,
            deadline,
            halt: core.filter(|_| graced).map(|core| {
                Halt::new(
                    core.id(),
                    StopKind::AttemptTimedOut,
                    context::halt_of(core.id()),
                )
            }),
            in_grace: false,
        }
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
        }
        let begun = this.begun.get_or_insert_with(|| {
            Self::begin(this.job, this.name, *this.limit, this.grace.is_some())
        });
        let _entered = match (core, begun.key) {
            (Some(core), Some(key)) => Some(context::in_step(core.id(), key)),
            _ => None,
        };
        loop {
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a step was polled after it was ready");
            };
            let polled = {
                let _limits =
                    (begun.deadline).map(|(_, deadline)| context::narrow(Limits::until(deadline)));
                let _halt = (begun.halt.is_some()).then(|| context::under_halt(&mut begun.halt));
                future.poll(cx)
            };
            match polled {
                Poll::Ready(result) if !begun.in_grace => {
                    this.future.set(None);
                    if let Some(core) = core {
                        core.touch();
                    }
                    begun.close(this.job, |core, key| match &result {
                        Ok(_) => core.end_step(key),
                        Err(_) => core.break_step(key, Broken::Failed),
                    });
                    return Poll::Ready(result.map_err(Into::into));
                }
                // It came to its own end in its grace period.
                Poll::Ready(_) => this.future.set(None),
                Poll::Pending => {
                    let Some((_, deadline)) = begun.deadline else {
                        return Poll::Pending;
                    };
                    if this.sleep.is_none() {
                        this.sleep.set(Some(tokio::time::sleep_until(deadline)));
                    }
                    if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                        // A busy step must not use up the budget that its own limit needs.
                        ready!(Pin::new(&mut tokio::task::coop::unconstrained(sleep)).poll(cx));
                    }
                    if let (false, Some(grace), Some(core), Some(halt)) =
                        (begun.in_grace, *this.grace, core, &begun.halt)
                    {
                        core.halt(halt);
                        begun.in_grace = true;
                        this.sleep.set(Some(tokio::time::sleep(grace)));
                        continue;
                    }
                }
            }
            let Some((limit, _)) = begun.deadline else {
                unreachable!("a limit has expired")
            };
            let scope = LimitScope::Step(Arc::clone(this.name));
            if let Some(core) = core {
                core.touch();
                context::emit(core, || EventKind::TimedOut {
                    scope: scope.clone(),
                    limit,
                    dropped: this.future.is_some(),
                });
            }
            this.future.set(None);
            begun.close(this.job, |core, key| core.break_step(key, Broken::Failed));
            return Poll::Ready(Err(Elapsed::new(scope, limit, this.job.attempt()).into()));
        }
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
