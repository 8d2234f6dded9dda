//! A named part of a job's work.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
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
    handle::Job,
    limits::Limits,
    step_errors::{IntoError, OwnError, StepErrors, Stoppable, Uninterrupted},
    stop_signal::StopSignal,
    verdict::VerdictKind,
};
use crate::event::{EventKind, LimitScope};

pin_project! {
    /// A named part of the work of a job, with a limit and a report of its own. Made by [`Job::step`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Step<F, M = OwnError> {
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
        errors: PhantomData<fn() -> M>,
    }

    impl<F, M> PinnedDrop for Step<F, M> {
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
    signal: Option<Arc<StopSignal>>,
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
    /// The step's own error, of the type with which its future fails. [`Cancelled`](super::Cancelled) if the job was
    /// cancelled before the step began, and [`Elapsed`] if the limit expired, are made into that type, so it has to be
    /// `From` both. A [`BoxError`](crate::BoxError), an error type like that of `anyhow`, and [`std::io::Error`] are;
    /// an enum of your own says it with two variants:
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_keep::{Job, job::{Cancelled, Elapsed}};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// enum AppError {
    ///     #[error(transparent)]
    ///     Cancelled(#[from] Cancelled),
    ///     #[error(transparent)]
    ///     TooSlow(#[from] Elapsed),
    ///     #[error("no number")]
    ///     Number(#[from] std::num::ParseIntError),
    /// }
    ///
    /// async fn fetch() -> Result<String, AppError> {
    ///     Ok("7".to_owned())
    /// }
    ///
    /// async fn job() -> Result<u32, AppError> {
    ///     let job = Job::current();
    ///     let page = job.step("fetch", fetch()).limit(Duration::from_secs(5)).await?;
    ///     // This future's error cannot say that the step was stopped: `err_into` names an error that can.
    ///     let number = job.step("parse", async move { page.parse::<u32>() }).err_into::<AppError>().await?;
    ///     // Nothing stops this one, so that its error type is free.
    ///     let Ok(sum) = job.step("add", async move { Ok::<_, std::convert::Infallible>(number + 1) }).uninterrupted().await;
    ///     Ok(sum)
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// assert_eq!(job().await.unwrap(), 8);
    /// # });
    /// ```
    ///
    /// Where the error of a step's future cannot say that it was stopped, the compiler says so:
    ///
    /// ```compile_fail,E0277
    /// # async fn parse() {
    /// // error: a step that fails with `ParseIntError` cannot be stopped: `ParseIntError` is not ..
    /// let number = tower_keep::Job::current().step("parse", async { "7".parse::<u32>() }).await;
    /// # }
    /// ```
    ///
    /// A step that is the last expression of its block needs no type: it has the type that the function returns. Before
    /// a `?` the compiler has to know it, as of any future: from a function's signature, or by `Ok::<_, AppError>(..)`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the step drops its future. Events that follow name this step, until another begins.
    pub fn step<F, T, E>(&self, name: impl Into<Arc<str>>, future: F) -> Step<F>
    where
        F: Future<Output = Result<T, E>>,
    {
        Step {
            job: self.clone(),
            name: name.into(),
            limit: None,
            grace: None,
            begun: None,
            sleep: None,
            future: Some(future),
            errors: PhantomData,
        }
    }
}

impl<F, M: Stoppable> Step<F, M> {
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

    /// The step fails with this error type: its future's error is made into it, and so is what stopped the step. For a
    /// future whose own error is of a foreign type.
    ///
    /// Before a `?` it has to be named, `err_into::<AppError>()`; as the last expression of a function it is known.
    pub fn err_into<E>(self) -> Step<F, IntoError<E>> {
        self.with_errors()
    }

    /// Runs the step to its own end: there is no checkpoint before it and no limit over it, that of a layer or one set
    /// here. For work that must not be left half done, and for a future whose error cannot say that it was stopped,
    /// such as an infallible one: the step's result is the future's own.
    ///
    /// It is still dropped with the job's code.
    pub fn uninterrupted(self) -> Step<F, Uninterrupted> {
        self.with_errors()
    }

    /// A step that was polled can no longer be moved, so this one has not begun.
    fn with_errors<N>(mut self) -> Step<F, N> {
        Step {
            job: mem::take(&mut self.job),
            name: Arc::clone(&self.name),
            limit: self.limit,
            grace: self.grace,
            begun: None,
            sleep: None,
            future: self.future.take(),
            errors: PhantomData,
        }
    }
}

impl<F, M> Step<F, M> {
    /// Tells the job that the step begins.
    fn begin(job: &Job, name: &Arc<str>, limit: Option<Duration>, graced: bool) -> Begun {
        let core = job.core();
        let key = core.map(|core| {
            core.touch();
            core.begin_step(name, context::step_of(core.id()))
        });
        let deadline = limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
        Begun {
            key,
            deadline,
            signal: core.filter(|_| graced).map(|core| {
                StopSignal::new(
                    core.id(),
                    VerdictKind::AttemptTimedOut,
                    context::stop_signal_of(core.id()),
                )
            }),
            in_grace: false,
        }
    }
}

impl<F, M, T, E> Future for Step<F, M>
where
    F: Future<Output = Result<T, E>>,
    M: StepErrors<E>,
{
    type Output = Result<T, M::Error>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let core = this.job.core();
        if this.begun.is_none() && M::STOPS {
            if let Err(cancelled) = this.job.checkpoint() {
                this.future.set(None);
                return Poll::Ready(Err(M::cancelled(cancelled)));
            }
        }
        let begun = this.begun.get_or_insert_with(|| {
            let limit = M::STOPS.then(|| this.limit.or_else(|| core?.step_limit()));
            Self::begin(this.job, this.name, limit.flatten(), this.grace.is_some())
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
                let _signal =
                    (begun.signal.is_some()).then(|| context::under_stop_signal(&mut begun.signal));
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
                    return Poll::Ready(result.map_err(M::own));
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
                    if let (false, Some(grace), Some(core), Some(signal)) =
                        (begun.in_grace, *this.grace, core, &begun.signal)
                    {
                        core.stop_by(signal);
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
                    name: None,
                    limit,
                    dropped: this.future.is_some(),
                });
            }
            this.future.set(None);
            begun.close(this.job, |core, key| core.break_step(key, Broken::Failed));
            let elapsed = Elapsed::new(scope, limit, this.job.attempt());
            return Poll::Ready(Err(M::elapsed(elapsed)));
        }
    }
}

impl<F, M> fmt::Debug for Step<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("job", &self.job)
            .field("name", &self.name)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
