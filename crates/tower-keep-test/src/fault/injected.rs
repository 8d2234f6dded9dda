//! [`InjectedFault`]: the error or panic payload of an injected fault.

use std::{any::Any, error::Error, fmt};

use super::kind::Fault;

/// The error or the panic payload that a [`FaultLayer`](crate::FaultLayer) injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedFault {
    kind: Fault,
    number: usize,
    seed: u64,
}

impl InjectedFault {
    pub(super) fn new(kind: Fault, number: usize, seed: u64) -> Self {
        Self { kind, number, seed }
    }

    /// The kind of fault.
    #[must_use]
    pub fn kind(&self) -> Fault {
        self.kind
    }

    /// The number of the call, or of the wait for readiness. Each counts from 0, over all clones.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// The seed that reproduces it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Finds the injected fault in an error or its causes.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        tower_keep::find(error)
    }

    /// Finds the injected fault in a panic payload, from `catch_unwind` or a task's join error.
    ///
    /// ```
    /// use tower::{BoxError, Layer, ServiceExt, service_fn};
    /// use tower_keep_test::{Fault, FaultLayer, InjectedFault};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let echo = service_fn(|request: u32| async move { Ok::<_, BoxError>(request) });
    /// let service = FaultLayer::seeded(42).script([Some(Fault::PanicInCall)]).layer(echo);
    ///
    /// let panic = tokio::spawn(service.clone().oneshot(1)).await.unwrap_err().into_panic();
    /// assert_eq!(InjectedFault::of_panic(&*panic).unwrap().kind(), Fault::PanicInCall);
    /// assert_eq!(service.oneshot(1).await.unwrap(), 1);
    /// # }
    /// ```
    #[must_use]
    pub fn of_panic(payload: &(dyn Any + Send)) -> Option<&Self> {
        payload.downcast_ref()
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, number, seed } = self;
        let what = if kind.is_of_readiness() {
            "readiness"
        } else {
            "call"
        };
        write!(f, "injected {kind} ({what} {number}, seed {seed})")
    }
}

impl Error for InjectedFault {}
