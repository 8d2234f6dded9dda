//! Measures what calls cost: heap allocations, and clones of the inner service.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tower::{Layer, Service};

/// Before these the layers may fill their tables.
pub(crate) const WARM_UP: usize = 32;

pub(crate) const CALLS: usize = 64;

/// Boxing it allocates nothing, as it has no size.
#[derive(Clone, Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// A service that allocates nothing and counts its clones.
pub(crate) struct Inner {
    pub(crate) pends: bool,
    pub(crate) fails: fn(u64) -> bool,
    pub(crate) clones: Arc<AtomicUsize>,
}

impl Inner {
    pub(crate) fn new(pends: bool) -> Self {
        Self {
            pends,
            fails: |_| false,
            clones: Arc::default(),
        }
    }
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::Relaxed);
        Self {
            pends: self.pends,
            fails: self.fails,
            clones: Arc::clone(&self.clones),
        }
    }
}

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Broken;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Answer {
        Answer {
            pends: self.pends,
            result: Some(if (self.fails)(request) {
                Err(Broken)
            } else {
                Ok(request)
            }),
        }
    }
}

/// Ready at once, or when it is polled again.
pub(crate) struct Answer {
    pub(crate) pends: bool,
    result: Option<Result<u64, Broken>>,
}

impl Future for Answer {
    type Output = Result<u64, Broken>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.pends) {
            return Poll::Pending;
        }
        Poll::Ready(self.result.take().expect("polled once it was ready"))
    }
}

/// The cost of all calls together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) allocations: usize,
    pub(crate) clones: usize,
    pub(crate) failed: usize,
}

/// Makes these calls, and says how many failed.
pub(crate) fn calls<S: Service<u64>>(service: &mut S, requests: std::ops::Range<usize>) -> usize {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut failed = 0;
    for request in requests {
        assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))));
        let mut future = pin!(service.call(request as u64));
        let mut polls = 0;
        let result = loop {
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => break result,
                Poll::Pending => polls += 1,
            }
            assert!(polls < 10, "it never ends");
        };
        failed += usize::from(result.is_err());
    }
    failed
}

/// The cost of [`CALLS`] calls in the steady state.
pub(crate) fn cost_of<L>(layer: L, inner: Inner) -> Cost
where
    L: Layer<Inner>,
    L::Service: Service<u64>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let clones = Arc::clone(&inner.clones);
    let mut service = layer.layer(inner);
    calls(&mut service, 0..WARM_UP);
    clones.store(0, Ordering::Relaxed);
    let mut failed = 0;
    let counted = allocation_counter::measure(|| {
        failed = calls(&mut service, WARM_UP..WARM_UP + CALLS);
    });
    Cost {
        allocations: usize::try_from(counted.count_total).unwrap(),
        clones: clones.load(Ordering::Relaxed),
        failed,
    }
}

/// Checks the cost of one call that succeeds, ready at once and pending once.
#[track_caller]
pub(crate) fn at_most<L>(layer: &L, allocations: usize, clones: usize)
where
    L: Layer<Inner>,
    L::Service: Service<u64>,
{
    for pends in [false, true] {
        let cost = cost_of(layer, Inner::new(pends));
        assert_eq!(cost.failed, 0);
        assert!(
            cost.allocations <= allocations * CALLS,
            "{} allocations in {CALLS} calls (pending first: {pends}), {allocations} are allowed in each",
            cost.allocations
        );
        assert!(
            cost.clones <= clones * CALLS,
            "{} clones in {CALLS} calls (pending first: {pends}), {clones} are allowed in each",
            cost.clones
        );
    }
}
