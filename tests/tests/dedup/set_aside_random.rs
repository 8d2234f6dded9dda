//! Calls with one key that begin, are polled once, set aside, dropped and awaited in any order, in
//! each mode and in each stack, compared after each step with a simple model of who is ready.

use std::task::Poll;

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, LogLayer, Pipeline, RetryLayer, TimeoutLayer,
    cancel::Cancelled, dedup::Duplicate, find,
};
use tower_keep_test::Polled;
use tower_keep_tests::*;

use super::set_aside_stages::*;

const QUIET: u64 = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Reject,
    Join,
    Latest,
    Debounce,
}

/// What a call has at its next poll.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ready {
    Response(u32),
    Replaced,
    Rejected,
}

/// What the model knows of a call.
#[derive(Debug)]
struct Known {
    ready: Option<Ready>,
    /// Neither over nor dropped.
    is_live: bool,
    began: Instant,
}

/// Who has the key, and who is ready.
#[derive(Debug)]
struct Model {
    mode: Mode,
    calls: Vec<Known>,
    /// The calls whose work runs: one, or all that joined.
    running: Vec<usize>,
    /// In `debounce`.
    waiting: Option<usize>,
}

impl Model {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            calls: Vec::new(),
            running: Vec::new(),
            waiting: None,
        }
    }

    fn call(&mut self) {
        let call = self.calls.len();
        let is_taken = !self.running.is_empty();
        let mut ready = None;
        match self.mode {
            Mode::Reject if is_taken => ready = Some(Ready::Rejected),
            Mode::Reject | Mode::Join => self.running.push(call),
            Mode::Latest => {
                for older in self.running.drain(..) {
                    self.calls[older].ready = Some(Ready::Replaced);
                }
                self.running.push(call);
            }
            Mode::Debounce => {
                if let Some(older) = self.waiting.replace(call) {
                    self.calls[older].ready = Some(Ready::Replaced);
                }
            }
        }
        self.calls.push(Known {
            ready,
            is_live: true,
            began: Instant::now(),
        });
    }

    fn leave(&mut self, call: usize) {
        self.calls[call].is_live = false;
        self.running.retain(|running| *running != call);
        self.waiting.take_if(|waiting| *waiting == call);
    }

    /// A call that waits for quiet has the place once it is polled, if nobody else has it.
    fn before_poll(&mut self, call: usize) {
        let is_due = self.calls[call].began.elapsed() >= ms(QUIET);
        if self.waiting == Some(call) && is_due && self.running.is_empty() {
            self.waiting = None;
            self.running.push(call);
        }
    }

    /// What a poll gave: it is what the model says, or the end of the work that the call shares.
    fn after_poll(&mut self, call: usize, got: Option<Ready>) {
        let ready = self.calls[call].ready;
        if ready.is_some() {
            assert_eq!(got, ready, "call {call}");
        }
        let Some(got) = got else {
            return;
        };
        if ready.is_none() {
            assert!(matches!(got, Ready::Response(_)), "call {call}: {got:?}");
            assert!(self.running.contains(&call), "call {call} does not run");
            for with in self.running.drain(..) {
                self.calls[with].ready = Some(got);
            }
        }
        self.leave(call);
    }
}

fn read(result: Result<u32, BoxError>) -> Ready {
    match result {
        Ok(number) => Ready::Response(number),
        Err(error) => {
            let cancelled = find::<Cancelled>(&*error);
            if cancelled.is_some_and(|why| *why.reason() == CancelReason::Replaced) {
                return Ready::Replaced;
            }
            let duplicate = find::<Duplicate>(&*error);
            assert!(duplicate.is_some(), "{error:?}");
            Ready::Rejected
        }
    }
}

struct World {
    service: Stack,
    model: Model,
    calls: Vec<Option<Polled<CallOf>>>,
    is_aside: Vec<bool>,
}

type CallOf = <Stack as tower::Service<u32>>::Future;

impl World {
    async fn begin(&mut self) {
        let call = begin(&mut self.service, 0).await;
        self.model.call();
        self.calls.push(Some(Polled::new(call)));
        self.is_aside.push(false);
    }

    fn poll(&mut self, call: usize) {
        let Some(polled) = &mut self.calls[call] else {
            return;
        };
        self.model.before_poll(call);
        let got = match polled.poll() {
            Poll::Ready(result) => Some(read(result)),
            Poll::Pending => None,
        };
        self.model.after_poll(call, got);
        if got.is_some() {
            self.calls[call] = None;
        }
    }

    fn drop(&mut self, call: usize) {
        if self.calls[call].take().is_some() {
            self.model.leave(call);
        }
    }

    /// Each call that is ready and waits was woken.
    fn check(&self) {
        for (call, known) in self.calls.iter().zip(&self.model.calls) {
            if let Some(call) = call {
                assert!(known.is_live);
                if known.ready.is_some() && call.polls() > 0 {
                    call.assert_woken();
                }
            }
        }
    }

    async fn step(&mut self, rng: &mut fastrand::Rng) {
        let live: Vec<_> = (0..self.calls.len())
            .filter(|call| self.calls[*call].is_some())
            .collect();
        let any = rng.choice(live);
        match (rng.u8(..16), any) {
            (0..3, _) | (_, None) => {
                if self.calls.len() < 6 {
                    self.begin().await;
                }
            }
            (3..9, Some(call)) => {
                if !self.is_aside[call] {
                    self.poll(call);
                }
            }
            (9..11, Some(call)) => self.is_aside[call] = true,
            (11, Some(call)) => self.drop(call),
            (12, _) => tokio::task::yield_now().await,
            (_, _) => tokio::time::sleep(ms(rng.u64(1..20))).await,
        }
    }

    /// Awaits a call, of which all others may have been set aside.
    async fn end(&mut self, call: usize, rng: &mut fastrand::Rng, at_most: std::time::Duration) {
        let Some(mut polled) = self.calls[call].take() else {
            return;
        };
        let known = &self.model.calls[call];
        if known.ready.is_some() {
            let got = read(polled.assert_ready());
            self.model.after_poll(call, Some(got));
            return;
        }
        if self.model.waiting == Some(call) {
            if let Some(other) = self.model.running.first().copied() {
                if rng.bool() {
                    assert!(waits(&mut polled).await, "another one runs");
                    self.drop(other);
                    polled.assert_woken();
                } else {
                    Box::pin(self.end(other, rng, at_most)).await;
                }
            }
        }
        let (result, took) = awaited(polled).await;
        assert!(took <= at_most, "{took:?}");
        self.model.before_poll(call);
        self.model.after_poll(call, Some(read(result)));
    }
}

async fn scripts(mode: Mode, stacks: Vec<NamedStack>) {
    for (name, stack) in stacks {
        for seed in 0..80 {
            let rng = &mut fastrand::Rng::with_seed(seed);
            let inner = Staged::new(&plan(seed));
            let (seen, at_most) = (inner.seen(), at_most(&inner) + ms(QUIET));
            let mut world = World {
                service: stack(inner),
                model: Model::new(mode),
                calls: Vec::new(),
                is_aside: Vec::new(),
            };
            let _script = Script { mode, name, seed };
            for _ in 0..rng.u8(10..50) {
                world.step(rng).await;
                world.check();
            }
            let mut order: Vec<_> = (0..world.calls.len()).collect();
            rng.shuffle(&mut order);
            for call in order {
                world.end(call, rng, at_most).await;
                world.check();
            }
            // Nothing is left, and the key is free.
            assert_eq!(seen.running(), 0);
            let (result, took) = awaited(begin(&mut world.service, 0).await).await;
            assert!(result.is_ok() && took <= at_most);
        }
    }
}

/// Says which script it is if it is dropped by a panic.
struct Script {
    mode: Mode,
    name: &'static str,
    seed: u64,
}

impl Drop for Script {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { mode, name, seed } = self;
            eprintln!("in script {seed} of {mode:?}, {name}");
        }
    }
}

/// R64 Any script of calls that join: each has the result by itself, and all of an execution have
/// the same.
#[tokio::test(start_paused = true)]
async fn scripts_of_calls_that_join() {
    scripts(Mode::Join, stacks!(DedupLayer::new(one_key).join())).await;
}

/// R64 Any script of calls of which one has the key: the others are rejected at once.
#[tokio::test(start_paused = true)]
async fn scripts_of_calls_that_reject() {
    scripts(Mode::Reject, stacks!(DedupLayer::new(one_key))).await;
}

/// R64 Any script of calls of which the latest runs: it waits for nobody.
#[tokio::test(start_paused = true)]
async fn scripts_of_calls_that_replace() {
    scripts(Mode::Latest, stacks!(DedupLayer::new(one_key).latest())).await;
}

/// R64 Any script of calls that wait for quiet: a waiting call is replaced at once, and waits for
/// none but a running call.
#[tokio::test(start_paused = true)]
async fn scripts_of_calls_that_wait_for_quiet() {
    let stacks = stacks!(DedupLayer::new(one_key).debounce(ms(QUIET)));
    scripts(Mode::Debounce, stacks).await;
}
