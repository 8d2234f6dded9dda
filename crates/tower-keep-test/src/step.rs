//! [`Step`]: one scripted response of a service.

use std::{fmt, pin::Pin, time::Duration};

use crate::{Gate, wait::Wait};

/// The behaviour of a [`Scripted`](crate::Scripted) service in one call.
///
/// Set the outcome, then the time: `Step::answer(1).after(secs(5))`. A `Result` is a step too, so
/// plain outcomes are a script: `Scripted::script([Err("first"), Ok(2)])`.
///
/// Closures run once and may own their captures. They must be `Send`, and so must the future of
/// [`run`](Self::run). Answers and errors need not be.
pub struct Step<Req, Res, E = &'static str> {
    pub(crate) wait: Wait,
    pub(crate) act: Act<Req, Res, E>,
}

pub(crate) type Running<Res, E> = Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>;
type With<Req, Res, E> = Box<dyn FnOnce(Req) -> Result<Res, E> + Send>;
type Run<Req, Res, E> = Box<dyn FnOnce(Req) -> Running<Res, E> + Send>;

pub(crate) enum Act<Req, Res, E> {
    Give(Result<Res, E>),
    With(With<Req, Res, E>),
    Run(Run<Req, Res, E>),
    Panic(String),
    PanicInCall(String),
    Never,
}

impl<Req, Res, E> Step<Req, Res, E> {
    fn new(act: Act<Req, Res, E>) -> Self {
        Self {
            wait: Wait::default(),
            act,
        }
    }

    /// Answers with `response`.
    #[must_use]
    pub fn answer(response: Res) -> Self {
        Self::new(Act::Give(Ok(response)))
    }

    /// Fails with `error`.
    #[must_use]
    pub fn error(error: E) -> Self {
        Self::new(Act::Give(Err(error)))
    }

    /// Computes the outcome from the request, in the future, after the wait.
    #[must_use]
    pub fn with<F>(outcome: F) -> Self
    where
        F: FnOnce(Req) -> Result<Res, E> + Send + 'static,
    {
        Self::new(Act::With(Box::new(outcome)))
    }

    /// Runs code of the test: an async closure, or a closure that returns a future. It is called in
    /// the future, after the wait.
    #[must_use]
    pub fn run<F, Fut>(work: F) -> Self
    where
        F: FnOnce(Req) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Res, E>> + Send + 'static,
    {
        Self::new(Act::Run(Box::new(move |request| Box::pin(work(request)))))
    }

    /// The response future panics with `message`, a `String` payload.
    #[must_use]
    pub fn panic(message: impl Into<String>) -> Self {
        Self::new(Act::Panic(message.into()))
    }

    /// `Service::call` itself panics with `message`, a `String` payload. Delays and gates have no
    /// effect.
    #[must_use]
    pub fn panic_in_call(message: impl Into<String>) -> Self {
        Self::new(Act::PanicInCall(message.into()))
    }

    /// Never answers: the future is pending forever. Delays and gates have no effect.
    #[must_use]
    pub fn never() -> Self {
        Self::new(Act::Never)
    }

    /// Delays the outcome after the first poll of the future. With a [gate](Self::when), the delay
    /// starts at the first poll that finds it open.
    ///
    /// The future panics outside a tokio runtime with a timer, unless the delay is zero. tokio's
    /// timer rounds up to whole milliseconds.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.wait.delay = delay;
        self
    }

    /// Holds the outcome back until the test opens this gate.
    #[must_use]
    pub fn when(mut self, gate: &Gate) -> Self {
        self.wait.gate = Some(gate.clone());
        self
    }

    /// A copy of the step, unless it holds a closure.
    pub(crate) fn duplicate(&self) -> Option<Self>
    where
        Res: Clone,
        E: Clone,
    {
        let act = match &self.act {
            Act::Give(outcome) => Act::Give(outcome.clone()),
            Act::Panic(message) => Act::Panic(message.clone()),
            Act::PanicInCall(message) => Act::PanicInCall(message.clone()),
            Act::Never => Act::Never,
            Act::With(_) | Act::Run(_) => return None,
        };
        Some(Self {
            wait: self.wait.fresh(),
            act,
        })
    }
}

impl<Req, Res, E> From<Result<Res, E>> for Step<Req, Res, E> {
    fn from(outcome: Result<Res, E>) -> Self {
        Self::new(Act::Give(outcome))
    }
}

impl<Req, Res, E> fmt::Debug for Step<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Give(Ok(_)) => f.write_str("answer")?,
            Act::Give(Err(_)) => f.write_str("error")?,
            Act::With(_) => f.write_str("with a closure")?,
            Act::Run(_) => f.write_str("run a closure")?,
            Act::Panic(message) => write!(f, "panic {message:?}")?,
            Act::PanicInCall(message) => write!(f, "panic in call {message:?}")?,
            Act::Never => f.write_str("never")?,
        }
        fmt::Debug::fmt(&self.wait, f)
    }
}
