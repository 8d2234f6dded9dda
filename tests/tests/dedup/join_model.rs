//! A joined execution, its callers, and what can be done to them one at a time, compared after each
//! action with a naive model. The work waits for the service's readiness, in a step and after it,
//! and in one stack for a second attempt.

use std::{
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use tokio::{runtime::Runtime, time::Instant};
use tower::{Service, ServiceBuilder, util::BoxCloneService};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Job, LogLayer, RetryLayer, cancel::CancelHandle,
    dedup::Duplicate, find,
};
use tower_keep_test::{Polled, Recorder};
use tower_keep_tests::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Ok,
    Error,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stack {
    Bare,
    /// Log, Cancel, Dedup.
    Tracked,
    /// Log, Dedup, Cancel: the work is watched for a cancellation, not the callers.
    CancelInside,
    /// Log, Cancel, Dedup, Retry: the first attempt fails.
    Retried,
    /// Log, Cancel that runs on without its caller, Dedup.
    Detached,
}

/// An attempt waits to be ready, in a step, and once more.
const WAITS: usize = 3;

/// How far one execution may go and how far it is.
#[derive(Debug, Default)]
struct Script {
    allowed: usize,
    gone: usize,
    attempts: usize,
    /// Since when the next attempt is waited for.
    resting: Option<Instant>,
    waker: Option<Waker>,
}

impl Script {
    fn poll(script: &Mutex<Self>, cx: &Context<'_>) -> Poll<()> {
        let mut script = script.lock().unwrap();
        script.resting = None;
        if script.allowed > script.gone {
            script.gone += 1;
            return Poll::Ready(());
        }
        script.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether a poll would bring it further.
    fn can_go_on(&self) -> bool {
        match self.resting {
            Some(since) => since.elapsed() >= secs(1),
            None => self.allowed > self.gone,
        }
    }
}

#[derive(Clone)]
struct Request {
    number: u32,
    script: Arc<Mutex<Script>>,
    /// An execution keeps it, and nobody else.
    _alive: Arc<()>,
}

#[derive(Clone)]
struct Work {
    /// That of the execution that runs, for the wait before there is a request.
    current: Arc<Mutex<Arc<Mutex<Script>>>>,
    called: Arc<Mutex<Vec<u32>>>,
    outcome: Outcome,
    attempts: usize,
}

impl Service<Request> for Work {
    type Response = u32;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let current = self.current.lock().unwrap().clone();
        Script::poll(&current, cx).map(Ok)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.called.lock().unwrap().push(request.number);
        let work = self.clone();
        Box::pin(async move {
            let request = request;
            let script = request.script.clone();
            let wait = || std::future::poll_fn(|cx| Script::poll(&script, cx));
            let job = Job::current();
            let step = job.step("first", async {
                wait().await;
                Ok::<_, BoxError>(())
            });
            step.await?;
            job.progress(0.5);
            wait().await;
            {
                let mut script = script.lock().unwrap();
                script.attempts += 1;
                if script.attempts < work.attempts {
                    script.resting = Some(Instant::now());
                    return Err("once more".into());
                }
            }
            match work.outcome {
                Outcome::Ok => Ok(request.number),
                Outcome::Error => Err(format!("failed {}", request.number).into()),
                // As a panic, but nothing is printed.
                Outcome::Panic => resume_unwind(Box::new("broken")),
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    /// The next caller calls.
    Call,
    Poll(usize),
    Drop(usize),
    /// What the work waits for happens.
    Advance,
}

type Caller = Polled<Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>>;

/// What one caller's share is supposed to be.
struct Share {
    caller: Option<Caller>,
    polled: bool,
    execution: usize,
}

struct Execution {
    number: u32,
    script: Arc<Mutex<Script>>,
    alive: Arc<()>,
    landed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) stack: Stack,
    pub(super) outcome: Outcome,
    /// How many callers may come.
    pub(super) most: usize,
}

pub(super) struct World<'a> {
    runtime: &'a Runtime,
    stack: Stack,
    outcome: Outcome,
    most: usize,
    service: BoxCloneService<Request, u32, BoxError>,
    work: Work,
    in_flight: Box<dyn Fn() -> usize>,
    recorder: Option<Recorder>,
    cancel: Option<CancelHandle>,
    shares: Vec<Share>,
    ready: Vec<Caller>,
    executions: Vec<Execution>,
    done: Vec<Action>,
}

impl<'a> World<'a> {
    pub(super) fn new(runtime: &'a Runtime, kind: Kind) -> Self {
        let Kind {
            stack,
            outcome,
            most,
        } = kind;
        let work = Work {
            current: Arc::default(),
            called: Arc::default(),
            outcome,
            attempts: if stack == Stack::Retried { 2 } else { 1 },
        };
        let dedup = DedupLayer::new(|_: &Request| Some(())).join();
        let seen = dedup.clone();
        let (log, recorder): (LogLayer, _) = recording();
        let (cancel, runs_on) = (CancelLayer::new(), CancelLayer::new().detached());
        let tracked = ServiceBuilder::new().layer(log);
        let inner = work.clone();
        let service = match stack {
            Stack::Bare => BoxCloneService::new(ServiceBuilder::new().layer(dedup).service(inner)),
            Stack::Tracked => {
                BoxCloneService::new(tracked.layer(cancel.clone()).layer(dedup).service(inner))
            }
            Stack::CancelInside => {
                BoxCloneService::new(tracked.layer(dedup).layer(cancel.clone()).service(inner))
            }
            Stack::Retried => {
                let retry = RetryLayer::new().max_retries(1);
                let stack = tracked.layer(cancel.clone()).layer(dedup).layer(retry);
                BoxCloneService::new(stack.service(inner))
            }
            Stack::Detached => {
                let stack = tracked.layer(runs_on.clone()).layer(dedup);
                BoxCloneService::new(stack.service(inner))
            }
        };
        let is_tracked = stack != Stack::Bare;
        let handle = match stack {
            Stack::Detached => runs_on.handle(),
            _ => cancel.handle(),
        };
        Self {
            runtime,
            stack,
            outcome,
            most,
            service,
            work,
            in_flight: Box::new(move || seen.in_flight()),
            recorder: is_tracked.then_some(recorder),
            cancel: is_tracked.then_some(handle),
            shares: Vec::new(),
            ready: Vec::new(),
            executions: Vec::new(),
            done: Vec::new(),
        }
    }

    fn detached(&self) -> bool {
        self.stack == Stack::Detached
    }

    fn waits(&self) -> usize {
        self.work.attempts * WAITS
    }

    /// The work belongs to its callers, or to nobody where it is detached.
    fn runs(&self, execution: usize) -> bool {
        let callers = || self.callers_of(execution).next().is_some();
        !self.executions[execution].landed && (self.detached() || callers())
    }

    fn callers_of(&self, execution: usize) -> impl Iterator<Item = &Share> {
        let shares = self.shares.iter();
        shares.filter(move |share| share.execution == execution && share.caller.is_some())
    }

    pub(super) fn running(&self) -> Option<usize> {
        let last = self.executions.len().checked_sub(1)?;
        self.runs(last).then_some(last)
    }

    pub(super) fn can_advance(&self) -> bool {
        self.running().is_some_and(|running| {
            let script = self.executions[running].script.lock().unwrap();
            script.allowed < self.waits() || (script.resting.is_some() && !script.can_go_on())
        })
    }

    /// What may be done next; polling the same caller twice in a row shows nothing new.
    pub(super) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.shares.len() < self.most {
            actions.push(Action::Call);
        }
        for (caller, share) in self.shares.iter().enumerate() {
            if share.caller.is_some() {
                if self.done.last() != Some(&Action::Poll(caller)) {
                    actions.push(Action::Poll(caller));
                }
                actions.push(Action::Drop(caller));
            }
        }
        if self.can_advance() {
            actions.push(Action::Advance);
        }
        actions
    }

    pub(super) fn act(&mut self, action: Action) {
        self.done.push(action);
        match action {
            Action::Call => self.call(),
            Action::Poll(caller) => self.poll(caller),
            Action::Drop(caller) => self.shares[caller].caller = None,
            Action::Advance => self.advance(),
        }
        self.settle();
        self.check();
    }

    fn call(&mut self) {
        let number = u32::try_from(self.shares.len()).unwrap();
        let script: Arc<Mutex<Script>> = Arc::default();
        let alive = Arc::new(());
        let execution = self.running().unwrap_or_else(|| {
            *self.work.current.lock().unwrap() = script.clone();
            self.executions.push(Execution {
                number,
                script: script.clone(),
                alive: alive.clone(),
                landed: false,
            });
            self.executions.len() - 1
        });
        let begun = self.executions[execution].number == number;
        let request = Request {
            number,
            script,
            _alive: alive.clone(),
        };
        let call = self.service.call(request);
        assert_eq!(
            Arc::strong_count(&alive) > 1,
            begun,
            "a request is kept only to be executed: {:?}",
            self.done
        );
        self.shares.push(Share {
            caller: Some(Polled::new(call)),
            polled: false,
            execution,
        });
    }

    fn poll(&mut self, number: usize) {
        let done = &self.done;
        let share = &mut self.shares[number];
        share.polled = true;
        let execution = &mut self.executions[share.execution];
        let polled = share.caller.as_mut().expect("it is here").poll();
        let Poll::Ready(result) = polled else {
            assert!(
                self.stack == Stack::Detached || !execution.landed,
                "the result is there: {done:?}"
            );
            return;
        };
        assert_eq!(
            execution.script.lock().unwrap().gone,
            self.work.attempts * WAITS,
            "a result of work that is not over: {done:?}"
        );
        execution.landed = true;
        // Its future stays, as in a `join!`, and holds nothing any more.
        self.ready.extend(share.caller.take());
        match (self.outcome, result) {
            (Outcome::Ok, Ok(answer)) => assert_eq!(answer, execution.number, "{done:?}"),
            (Outcome::Error, Err(error)) => {
                assert_eq!(error.to_string(), format!("failed {}", execution.number));
            }
            (Outcome::Panic, Err(error)) => assert!(
                find::<Duplicate>(&*error).is_some_and(Duplicate::execution_panicked),
                "{error}: {done:?}"
            ),
            (_, result) => panic!("{result:?}: {done:?}"),
        }
    }

    fn advance(&mut self) {
        let Some(running) = self.running() else {
            return;
        };
        let waits = self.waits();
        let (waker, rests) = {
            let mut script = self.executions[running].script.lock().unwrap();
            let rests = script.resting.is_some() && !script.can_go_on();
            if !rests && script.allowed < waits {
                script.allowed += 1;
            }
            (script.waker.take(), rests)
        };
        if rests {
            self.runtime.block_on(tokio::time::advance(secs(1)));
        } else {
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Lets the tasks of detached work run.
    fn settle(&mut self) {
        if !self.detached() {
            return;
        }
        self.runtime.block_on(async {
            for _ in 0..self.shares.len() + 2 {
                tokio::task::yield_now().await;
            }
        });
        let waits = self.waits();
        for execution in &mut self.executions {
            execution.landed |= execution.script.lock().unwrap().gone == waits;
        }
    }

    fn check(&self) {
        let done = &self.done;
        for (index, execution) in self.executions.iter().enumerate() {
            let runs = self.runs(index);
            assert_eq!(
                Arc::strong_count(&execution.alive) > 1,
                runs,
                "the work is there as long as a caller waits for it: {done:?}"
            );
            let goes_on = execution.landed || execution.script.lock().unwrap().can_go_on();
            let mut callers = self.callers_of(index).peekable();
            assert!(
                self.detached()
                    || !goes_on
                    || callers.peek().is_none()
                    || callers.any(|share| share.is_due()),
                "a caller was woken: {done:?}"
            );
            if execution.landed {
                assert!(
                    self.callers_of(index).all(Share::is_due),
                    "all were woken: {done:?}"
                );
            }
        }
        assert_eq!(
            (self.in_flight)(),
            usize::from(self.running().is_some()),
            "the key is held by what runs: {done:?}"
        );
        let called = self.work.called.lock().unwrap();
        for execution in &self.executions {
            let calls = called.iter().filter(|of| **of == execution.number).count();
            let attempts = execution.script.lock().unwrap().attempts;
            assert!(calls <= self.work.attempts && calls >= attempts);
        }
        let led = |of: &u32| self.executions.iter().any(|led| led.number == *of);
        assert!(
            called.iter().all(led),
            "followers execute nothing: {done:?}"
        );
    }

    /// From here on nobody leaves, and only callers that were woken, or were never polled, are
    /// polled, as by a runtime.
    pub(super) fn finish(&mut self) {
        loop {
            let due = self.shares.iter().position(Share::is_due);
            match due {
                Some(caller) => self.act(Action::Poll(caller)),
                None if self.can_advance() => self.act(Action::Advance),
                None => break,
            }
        }
        let done = &self.done;
        assert!(
            self.shares.iter().all(|share| share.caller.is_none()),
            "a caller waits, and nobody will wake it: {done:?}"
        );
        assert_eq!((self.in_flight)(), 0, "the key is free: {done:?}");
        if let (Some(recorder), false) = (&self.recorder, self.shares.is_empty()) {
            recorder.assert_one_terminal_each();
            assert_eq!(recorder.jobs().len(), self.shares.len());
        }
        if let Some(cancel) = &self.cancel {
            assert!(cancel.jobs().is_empty(), "{done:?}");
        }
        let executions = self.executions.len();
        self.most += 1;
        self.act(Action::Call);
        assert_eq!(self.executions.len(), executions + 1);
        self.act(Action::Drop(self.shares.len() - 1));
    }
}

impl Share {
    fn is_due(&self) -> bool {
        let caller = self.caller.as_ref();
        caller.is_some_and(|caller| !self.polled || caller.is_woken())
    }
}
