//! The service that injects faults.

use std::{
    fmt,
    panic::panic_any,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::{Sleep, sleep};
use tower_service::Service;

use super::{
    chance::Draw,
    future::{FaultyFuture, Stage},
    injected::InjectedFault,
    kind::Fault,
    plan::Plan,
    record::Record,
};

/// The service that [`FaultLayer`](crate::FaultLayer) makes.
///
/// If a fault keeps the request from the inner service, the inner service stays ready for the
/// instance's next call.
pub struct Faulty<S> {
    inner: S,
    plan: Arc<Plan>,
    record: Arc<Record>,
    wait: Wait,
}

/// The readiness state of this instance. A clone starts again.
enum Wait {
    Idle,
    Never,
    Slow(Pin<Box<Sleep>>),
    /// Waiting for the inner service.
    Inner,
}

impl<S> Faulty<S> {
    pub(super) fn new(inner: S, plan: Arc<Plan>, record: Arc<Record>) -> Self {
        Self {
            inner,
            plan,
            record,
            wait: Wait::Idle,
        }
    }

    /// The wrapped service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Begins a wait for readiness.
    fn begin(&self) -> Result<Wait, InjectedFault> {
        let (number, fault) = self.record.wait(|number| self.plan.of_readiness(number));
        match fault {
            Some(fault @ Fault::ReadinessError) => Err(self.record.fault(fault, number)),
            Some(Fault::NeverReady) => Ok(Wait::Never),
            Some(Fault::SlowReadiness) => {
                let delay = self.plan.delay(Draw::ReadinessDelay, number);
                Ok(Wait::Slow(Box::pin(sleep(delay))))
            }
            _ => Ok(Wait::Inner),
        }
    }
}

impl<S, Req> Service<Req> for Faulty<S>
where
    S: Service<Req, Error: From<InjectedFault>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FaultyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        loop {
            match &mut self.wait {
                Wait::Idle => match self.begin() {
                    Ok(wait) => self.wait = wait,
                    Err(fault) => return Poll::Ready(Err(fault.into())),
                },
                Wait::Never => return Poll::Pending,
                Wait::Slow(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.wait = Wait::Inner;
                }
                Wait::Inner => {
                    let result = ready!(self.inner.poll_ready(cx));
                    if result.is_err() {
                        self.wait = Wait::Idle;
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.wait = Wait::Idle;
        let (ticket, fault) = self.record.call(|number| self.plan.of_call(number));
        let delay = || self.plan.delay(Draw::CallDelay, ticket.number);
        let stage = match fault {
            Some(fault @ Fault::PanicInCall) => ticket.watch(|| panic_any(ticket.fault(fault))),
            Some(fault @ (Fault::Error | Fault::Hang | Fault::PanicInPoll)) => {
                Stage::Instead(fault)
            }
            Some(Fault::SlowResponse) => Stage::Slow(delay()),
            Some(Fault::LateWake) => Stage::Late(delay()),
            Some(Fault::SpuriousWakes) => Stage::Spurious(3),
            Some(Fault::StaleWake) => Stage::Stale(delay()),
            _ => Stage::Inner,
        };
        let inner = match stage {
            Stage::Instead(_) => None,
            _ => Some(ticket.watch(|| self.inner.call(request))),
        };
        FaultyFuture::new(inner, stage, ticket)
    }
}

impl<S: Clone> Clone for Faulty<S> {
    /// The clone shares the count and the record, but not readiness.
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            Arc::clone(&self.plan),
            Arc::clone(&self.record),
        )
    }
}

impl<S: fmt::Debug> fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}
