//! [`Job::step`]: a named part of a job's work, with a limit and a report.

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
    /// A named step of a job, with its own limit and report. Made by [`Job::step`].
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
    /// `None` without a job, and once the step is over.
    key: Option<steps::StepKey>,
    /// The limit and its deadline; `None` without a limit, or if the deadline is out of range.
    deadline: Option<(Duration, Instant)>,
    /// Stops the step's code, if it has a grace period.
    signal: Option<Arc<StopSignal>>,
    in_grace: bool,
}

impl Begun {
    /// Reports the end of the step to the job, once.
    fn close(&mut self, job: &Job, how: impl FnOnce(&Core, steps::StepKey)) {
        if let (Some(core), Some(key)) = (job.core(), self.key.take()) {
            how(core, key);
        }
    }
}

impl Job {
    /// Runs one named step: a [`checkpoint`](Self::checkpoint) before it, a time limit on it, a
    /// report after it.
    ///
    /// The step begins, and takes the next number, when it is first polled. Every event that its
    /// code causes carries its name and number. So does the failure or cancellation of the job, if
    /// it happens in this step. The name can be any text. It is shared, not copied; an `Arc<str>`
    /// does not allocate.
    ///
    /// The limit is [`Step::limit`], or else the `step_limit` of the Timeout layer. Default: none.
    ///
    /// # Errors
    ///
    /// The future's own error, or one of these converted into its type:
    /// [`Cancelled`](super::Cancelled) if the job was cancelled before the step began, [`Elapsed`]
    /// if the limit expired. So the type must be `From` both. [`BoxError`](crate::BoxError), error
    /// types like `anyhow`'s, and [`std::io::Error`] are. Your own enum needs two variants:
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
    /// The compiler rejects a step whose error type cannot hold these errors:
    ///
    /// ```compile_fail,E0277
    /// # async fn parse() {
    /// // error: a step that fails with `ParseIntError` cannot be stopped: `ParseIntError` is not ..
    /// let number = tower_keep::Job::current().step("parse", async { "7".parse::<u32>() }).await;
    /// # }
    /// ```
    ///
    /// A step as the last expression of a block has the return type of the function. Before a `?`
    /// the compiler must know the type: from a function's signature, or by `Ok::<_, AppError>(..)`.
    ///
    /// If the compiler says of parallel steps that "implementation of `From` is not general
    /// enough", it cannot infer the error type of an `async` block. Replace the block by an `async
    /// fn`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the step drops its future. Later events name this step until another begins.
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
    /// Limits this step. Takes precedence over the layer's `step_limit`. The clock starts at the
    /// first poll.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// At the limit, signals the step's code to stop, and drops it only after this grace period.
    /// The step fails with [`Elapsed`] in both cases. The code sees the signal through a handle
    /// that it takes inside the step, with [`Job::current`]; the rest of the job does not. Without
    /// a job there is no grace period. Default: none, the step is dropped at the limit.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = (!grace.is_zero()).then_some(grace);
        self
    }

    /// Converts the step's error into this type: the future's own error,
    /// [`Cancelled`](super::Cancelled) and [`Elapsed`]. For futures with a foreign error type.
    ///
    /// Before a `?`, name the type: `err_into::<AppError>()`. As the last expression of a function,
    /// it is inferred.
    pub fn err_into<E>(self) -> Step<F, IntoError<E>> {
        self.with_errors()
    }

    /// Runs the step to its own end, without a checkpoint and without any limit. The step's result
    /// is the future's own.
    ///
    /// Use it for work that must not be left half done, and for a future whose error type cannot
    /// hold [`Elapsed`]. If the job's code is dropped, this step is dropped too.
    pub fn uninterrupted(self) -> Step<F, Uninterrupted> {
        self.with_errors()
    }

    /// A polled step cannot move, so this one has not begun.
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
                // The code ended on its own within the grace period.
                Poll::Ready(_) => this.future.set(None),
                Poll::Pending => {
                    let Some((_, deadline)) = begun.deadline else {
                        return Poll::Pending;
                    };
                    if this.sleep.is_none() {
                        this.sleep.set(Some(tokio::time::sleep_until(deadline)));
                    }
                    if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                        // A busy step must not consume the coop budget that its own limit needs.
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
