//! [`Scripted`]: a service that plays a script.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use tower_service::Service;

use crate::{Calls, Readiness, ScriptedFuture, Step, Strict, calls::Log, step::Act, sync::lock};

/// A service that plays a script, one [`Step`] per call.
///
/// Clones share the script and the record of [`calls`](Self::calls). All time is tokio's: on a
/// paused clock no real time passes.
///
/// Write the script first, then clone the service or take its calls. A step may hold a closure, so
/// a script cannot be copied. The setters panic if the script or the record is in use.
///
/// A call after the end of the script panics and shows the number of scripted calls.
/// [`repeat_last`](Self::repeat_last) or [`otherwise`](Self::otherwise) set what follows instead.
/// Readiness has its own script of [`Readiness`], one per cycle. It is empty by default. After its
/// end the service is always ready.
///
/// `Scripted` accepts a `call` without `poll_ready`; [`strict`](Self::strict) does not.
///
/// ```
/// use tower_keep_test::{Scripted, Step, secs};
///
/// // Shortcuts for simple steps:
/// let service = Scripted::<u32, &str>::new().answer("a").error("broken").answer_after(secs(2), "b");
///
/// // The same as steps:
/// let service = Scripted::<u32, &str>::script([
///     Step::answer("a"),
///     Step::error("broken"),
///     Step::answer("b").after(secs(2)),
/// ]);
///
/// // Outcomes first, then any number of computed responses:
/// let service = Scripted::script([Err("first"), Ok(2)]).otherwise(|| Step::with(|request: u32| Ok(request)));
/// ```
pub struct Scripted<Req, Res, E = &'static str> {
    script: Arc<Mutex<Script<Req, Res, E>>>,
    log: Arc<Log<Req>>,
    cycle: Cycle<E>,
}

struct Script<Req, Res, E> {
    steps: VecDeque<Step<Req, Res, E>>,
    /// The number of steps ever added.
    scripted: usize,
    /// Whether the last step was played and is kept to be repeated.
    repeating: bool,
    then: Then<Req, Res, E>,
    readiness: VecDeque<Readiness<E>>,
    ready_then: Option<MakeReadiness<E>>,
    keep: Option<fn(&Req) -> Req>,
}

type MakeStep<Req, Res, E> = Arc<dyn Fn() -> Step<Req, Res, E> + Send + Sync>;
type MakeReadiness<E> = Arc<dyn Fn() -> Readiness<E> + Send + Sync>;
type Duplicate<Req, Res, E> = fn(&Step<Req, Res, E>) -> Option<Step<Req, Res, E>>;

/// What follows after the last step.
enum Then<Req, Res, E> {
    Panic,
    Repeat(Duplicate<Req, Res, E>),
    Otherwise(MakeStep<Req, Res, E>),
}

/// The readiness state of this instance.
enum Cycle<E> {
    Idle,
    Waiting(Readiness<E>),
    Ready,
}

const CLOSURES_RUN_ONCE: &str =
    "the last step holds a closure, which runs once and cannot be repeated: use `otherwise`";

impl<Req, Res, E> Scripted<Req, Res, E> {
    /// A service with an empty script that is always ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            script: Arc::new(Mutex::new(Script {
                steps: VecDeque::new(),
                scripted: 0,
                repeating: false,
                then: Then::Panic,
                readiness: VecDeque::new(),
                ready_then: None,
                keep: None,
            })),
            log: Arc::new(Log::new()),
            cycle: Cycle::Idle,
        }
    }

    /// A service with this script of [`Step`]s, or of plain `Result`s.
    #[must_use]
    pub fn script<I>(steps: I) -> Self
    where
        I: IntoIterator<Item: Into<Step<Req, Res, E>>>,
    {
        steps.into_iter().fold(Self::new(), Self::step)
    }

    /// A service that computes each outcome from the request, without end.
    #[must_use]
    pub fn always<F>(outcome: F) -> Self
    where
        F: Fn(Req) -> Result<Res, E> + Send + Sync + 'static,
    {
        let outcome = Arc::new(outcome);
        Self::new().otherwise(move || {
            let outcome = outcome.clone();
            Step::with(move |request| outcome(request))
        })
    }

    /// For setters: the service must not be in use.
    #[track_caller]
    fn assert_unused(&self) {
        assert!(
            Arc::strong_count(&self.script) == 1 && Arc::strong_count(&self.log) == 1,
            "this service is in use already, by a clone, by `calls` or by a call: write the script first",
        );
    }

    /// Adds a step.
    ///
    /// # Panics
    ///
    /// If the service is already in use. So do all setters.
    #[must_use]
    #[track_caller]
    pub fn step(self, step: impl Into<Step<Req, Res, E>>) -> Self {
        self.assert_unused();
        self.log.update(|counts| counts.unused += 1);
        let mut script = lock(&self.script);
        if mem::take(&mut script.repeating) {
            script.steps.clear();
        }
        script.steps.push_back(step.into());
        script.scripted += 1;
        drop(script);
        self
    }

    /// Adds `count` steps, each made by `step`.
    #[must_use]
    #[track_caller]
    pub fn times<S>(self, count: usize, mut step: impl FnMut() -> S) -> Self
    where
        S: Into<Step<Req, Res, E>>,
    {
        (0..count).fold(self, |service, _| service.step(step()))
    }

    /// Adds [`Step::answer`].
    #[must_use]
    #[track_caller]
    pub fn answer(self, response: Res) -> Self {
        self.step(Step::answer(response))
    }

    /// Adds [`Step::answer`] after a delay.
    #[must_use]
    #[track_caller]
    pub fn answer_after(self, delay: Duration, response: Res) -> Self {
        self.step(Step::answer(response).after(delay))
    }

    /// Adds [`Step::error`].
    #[must_use]
    #[track_caller]
    pub fn error(self, error: E) -> Self {
        self.step(Step::error(error))
    }

    /// Adds [`Step::error`] after a delay.
    #[must_use]
    #[track_caller]
    pub fn error_after(self, delay: Duration, error: E) -> Self {
        self.step(Step::error(error).after(delay))
    }

    /// Adds [`Step::panic`].
    #[must_use]
    #[track_caller]
    pub fn panic(self, message: impl Into<String>) -> Self {
        self.step(Step::panic(message))
    }

    /// Adds [`Step::never`].
    #[must_use]
    #[track_caller]
    pub fn never(self) -> Self {
        self.step(Step::never())
    }

    /// Repeats the last step forever after the end of the script. Its gate or delay applies each
    /// time.
    ///
    /// # Panics
    ///
    /// If the script is empty, or if its last step holds a closure.
    #[must_use]
    #[track_caller]
    pub fn repeat_last(self) -> Self
    where
        Res: Clone,
        E: Clone,
    {
        self.assert_unused();
        let mut script = lock(&self.script);
        let last = script.steps.back().expect("there is no step to repeat");
        assert!(last.duplicate().is_some(), "{CLOSURES_RUN_ONCE}");
        script.then = Then::Repeat(Step::duplicate);
        drop(script);
        self
    }

    /// Plays a step from `step` for each call after the end of the script.
    #[must_use]
    #[track_caller]
    pub fn otherwise<F>(self, step: F) -> Self
    where
        F: Fn() -> Step<Req, Res, E> + Send + Sync + 'static,
    {
        self.assert_unused();
        lock(&self.script).then = Then::Otherwise(Arc::new(step));
        self
    }

    /// Adds a readiness, for one cycle of one instance.
    #[must_use]
    #[track_caller]
    pub fn readiness(self, readiness: Readiness<E>) -> Self {
        self.assert_unused();
        lock(&self.script).readiness.push_back(readiness);
        self
    }

    /// Uses `readiness` for each cycle after the end of the readiness script. Default: ready at
    /// once.
    #[must_use]
    #[track_caller]
    pub fn readiness_otherwise<F>(self, readiness: F) -> Self
    where
        F: Fn() -> Readiness<E> + Send + Sync + 'static,
    {
        self.assert_unused();
        lock(&self.script).ready_then = Some(Arc::new(readiness));
        self
    }

    /// Makes the service and its clones never ready after the end of the readiness script.
    #[must_use]
    #[track_caller]
    pub fn never_ready(self) -> Self
    where
        E: 'static,
    {
        self.readiness_otherwise(Readiness::never)
    }

    /// Keeps a clone of each request, for [`Calls::requests`].
    #[must_use]
    #[track_caller]
    pub fn recording(self) -> Self
    where
        Req: Clone,
    {
        self.assert_unused();
        lock(&self.script).keep = Some(Req::clone);
        self.log.update(|counts| counts.record_requests());
        self
    }

    /// A handle to the record of what happens to this service and its clones.
    #[must_use]
    pub fn calls(&self) -> Calls<Req> {
        Calls(self.log.clone())
    }

    /// Wraps the service in [`Strict`], which panics if the layer under test neglects readiness.
    #[must_use]
    pub fn strict(self) -> Strict<Self> {
        Strict::new(self)
    }

    /// The step for the next call.
    #[track_caller]
    fn next_step(&self) -> Step<Req, Res, E> {
        let mut script = lock(&self.script);
        let played = match (&script.then, script.steps.len()) {
            (Then::Repeat(duplicate), 1) => {
                let last = duplicate(&script.steps[0]).expect(CLOSURES_RUN_ONCE);
                let again = mem::replace(&mut script.repeating, true);
                Some((last, again))
            }
            _ => script.steps.pop_front().map(|step| (step, false)),
        };
        if let Some((step, again)) = played {
            drop(script);
            if !again {
                self.log.update(|counts| counts.unused -= 1);
            }
            return step;
        }
        let scripted = script.scripted;
        let otherwise = match &script.then {
            Then::Otherwise(make) => Some(make.clone()),
            Then::Panic | Then::Repeat(_) => None,
        };
        // The test's closure must not run while the script is locked.
        drop(script);
        match otherwise {
            Some(make) => make(),
            None => panic!(
                "this is call {} and the script ended after {scripted}: add a step, or say what \
                 follows with `repeat_last` or `otherwise`",
                self.calls().count(),
            ),
        }
    }

    fn next_readiness(&self) -> Readiness<E> {
        let mut script = lock(&self.script);
        if let Some(readiness) = script.readiness.pop_front() {
            return readiness;
        }
        let otherwise = script.ready_then.clone();
        drop(script);
        otherwise.map_or_else(Readiness::ok, |make| make())
    }
}

impl<Req, Res, E> Service<Req> for Scripted<Req, Res, E> {
    type Response = Res;
    type Error = E;
    type Future = ScriptedFuture<Req, Res, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.log.update(|counts| counts.polled());
        loop {
            match &mut self.cycle {
                Cycle::Idle => self.cycle = Cycle::Waiting(self.next_readiness()),
                Cycle::Waiting(readiness) => {
                    let result = ready!(readiness.poll(cx));
                    self.cycle = if result.is_ok() {
                        Cycle::Ready
                    } else {
                        Cycle::Idle
                    };
                    return Poll::Ready(result);
                }
                Cycle::Ready => return Poll::Ready(Ok(())),
            }
        }
    }

    #[track_caller]
    fn call(&mut self, request: Req) -> Self::Future {
        self.cycle = Cycle::Idle;
        let keep = lock(&self.script).keep;
        let mut ticket = self.log.begin(keep.map(|keep| keep(&request)));
        let step = ticket.watch(|| {
            let step = self.next_step();
            if let Act::PanicInCall(message) = &step.act {
                panic!("{message}");
            }
            step
        });
        ScriptedFuture::new(step, request, ticket)
    }
}

impl<Req, Res, E> Clone for Scripted<Req, Res, E> {
    /// The clone shares script and record, but not readiness.
    fn clone(&self) -> Self {
        self.log.update(|counts| counts.cloned());
        Self {
            script: self.script.clone(),
            log: self.log.clone(),
            cycle: Cycle::Idle,
        }
    }
}

impl<Req, Res, E> Default for Scripted<Req, Res, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Req, Res, E> fmt::Debug for Scripted<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = lock(&self.script);
        let then = match script.then {
            Then::Panic => "panic",
            Then::Repeat(_) => "repeat the last",
            Then::Otherwise(_) => "a closure",
        };
        f.debug_struct("Scripted")
            .field("steps", &script.steps)
            .field("then", &then)
            .field("readiness", &script.readiness)
            .finish_non_exhaustive()
    }
}
