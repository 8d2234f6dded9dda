//! Making the calls of a case.
//!
//! All calls of a sample are made within one poll of one task of a current-thread runtime, so that
//! no case is measured with more of an executor than another. Only what spawns a task for each call
//! has the scheduler run them.

use std::{
    future::Future,
    hint::black_box,
    ops::Range,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::runtime::Runtime;
use tower::Service;

use crate::inner::Failing;

/// A service, and what can be done to it without knowing its type.
pub trait Subject {
    /// Makes this many calls when `around` says so, which is to do it once.
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut()));
}

/// Makes the calls one after the other, each polled until it is ready. Each has to succeed, or each
/// to fail.
///
/// Kept out of line, so that each case is compiled alike.
#[inline(never)]
pub fn calls<S: Service<u64>>(
    service: &mut S,
    requests: Range<u64>,
    succeed: bool,
    cx: &mut Context<'_>,
) {
    for request in requests {
        assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))));
        let mut future = pin!(service.call(black_box(request)));
        // In memory, as that of a task, or call and poll would become one for the simplest cases
        // only.
        black_box(&mut future);
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(cx) {
                assert_eq!(black_box(result).is_ok(), succeed);
                break;
            }
        }
    }
}

/// No two requests are alike.
#[derive(Default)]
struct Requests {
    next: u64,
}

impl Requests {
    fn take(&mut self, count: u64) -> Range<u64> {
        let requests = self.next..self.next + count;
        self.next = requests.end;
        requests
    }
}

/// Polled by hand.
pub(crate) struct Driven<S> {
    service: S,
    succeeds: bool,
    runtime: Rc<Runtime>,
    requests: Requests,
}

impl<S: Service<u64>> Driven<S> {
    pub(crate) fn new(service: S, runtime: &Rc<Runtime>) -> Self {
        Self {
            service,
            succeeds: true,
            runtime: Rc::clone(runtime),
            requests: Requests::default(),
        }
    }
}

impl<S: Service<u64>> Subject for Driven<S> {
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let requests = self.requests.take(count);
        let (service, succeeds) = (&mut self.service, self.succeeds);
        let all = std::future::poll_fn(|cx| {
            around(&mut || calls(service, requests.clone(), succeeds, cx));
            Poll::Ready(())
        });
        // A task that never yields would soon find tokio's own futures pending.
        self.runtime.block_on(tokio::task::unconstrained(all));
    }
}

/// Rejects every call, as its circuit is open.
pub(crate) struct Rejecting<S> {
    driven: Driven<S>,
    inner: Failing,
}

impl<S: Service<u64>> Rejecting<S> {
    /// A few failures open the circuit.
    pub(crate) fn new(service: S, inner: Failing, runtime: &Rc<Runtime>) -> Self {
        let mut driven = Driven::new(service, runtime);
        driven.succeeds = false;
        driven.run(200, &mut |calls| calls());
        Self { driven, inner }
    }
}

impl<S: Service<u64>> Subject for Rejecting<S> {
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let before = self.inner.calls();
        self.driven.run(count, around);
        assert_eq!(self.inner.calls(), before, "a call came through");
    }
}

/// Each call a task of its own, awaited before the next.
pub(crate) struct Spawned<F> {
    call: F,
    runtime: Rc<Runtime>,
    requests: Requests,
}

impl<F, Fut> Spawned<F>
where
    F: FnMut(u64) -> Fut,
    Fut: Future<Output = bool>,
{
    /// `call` says whether it succeeded.
    pub(crate) fn new(call: F, runtime: &Rc<Runtime>) -> Self {
        Self {
            call,
            runtime: Rc::clone(runtime),
            requests: Requests::default(),
        }
    }
}

impl<F, Fut> Subject for Spawned<F>
where
    F: FnMut(u64) -> Fut,
    Fut: Future<Output = bool>,
{
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let requests = self.requests.take(count);
        let (call, runtime) = (&mut self.call, &self.runtime);
        around(&mut || {
            runtime.block_on(tokio::task::unconstrained(async {
                for request in requests.clone() {
                    assert!(call(black_box(request)).await);
                }
            }));
        });
    }
}
