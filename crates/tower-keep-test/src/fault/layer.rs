//! [`FaultLayer`] and its settings.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    kind::Fault,
    plan::Plan,
    record::{Faults, Record},
    service::Faulty,
};

/// Injects faults between a layer and its service, by a seed or by a script: errors, panics,
/// hanging calls, missing readiness, late or spurious wakes. See [`Fault`] for the list.
///
/// Put it inside the layer under test, around a working service. The service's error must be
/// `From<`[`InjectedFault`]`>`, such as `Box<dyn Error + Send + Sync>`. By default it injects
/// nothing.
///
/// # Determinism
///
/// The fault of the nth call depends only on the seed, the settings and n. Waits for readiness are
/// counted separately: a wait begins with the first `poll_ready` of an instance after its last
/// call. All services of a layer, and their clones, share both counts.
///
/// So one task, or a single-threaded runtime, repeats the same run for a seed. On several threads
/// the order of faults stays the same, but the threads decide which caller makes the nth call.
///
/// Clones of the layer share the counts and the record. A setter on a layer that is in use, by a
/// clone, a handle or a service, returns a layer whose counts start again. Configure first, then
/// take handles.
///
/// # Faults that panic
///
/// [`PanicInCall`](Fault::PanicInCall) and [`PanicInPoll`](Fault::PanicInPoll) pass through the
/// layer to the caller, and would end the test. [`inject_all`](Self::inject_all) includes them.
/// Make each call in its own task: the join error then has the fault, see
/// [`InjectedFault::of_panic`](crate::InjectedFault::of_panic). Each such panic is printed as
/// `Box<dyn Any>`.
///
/// # Concurrency limits inside
///
/// A call that an injected fault ends does not reach the service, so the instance stays ready. An
/// inner `ConcurrencyLimit` then keeps its permit until the next call or drop of this instance. Put
/// the limit around the `FaultLayer`, or call a clone for each request.
///
/// # Example
///
/// A layer that tries again once, under a thousand calls. In a test suite, `main` would be a
/// `#[tokio::test(start_paused = true)]`.
///
/// ```
/// use std::{
///     pin::Pin,
///     task::{Context, Poll},
/// };
///
/// use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
/// use tower_keep_test::{Fault, FaultLayer, InjectedFault, Strict, secs};
///
/// #[derive(Clone)]
/// struct Twice<S>(S);
///
/// impl<S, Req> Service<Req> for Twice<S>
/// where
///     S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
///     Req: Clone + Send + 'static,
/// {
///     type Response = S::Response;
///     type Error = S::Error;
///     type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;
///
///     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
///         self.0.poll_ready(cx)
///     }
///
///     fn call(&mut self, request: Req) -> Self::Future {
///         let again = self.0.clone();
///         let first = self.0.call(request.clone());
///         Box::pin(async move {
///             match first.await {
///                 Ok(response) => Ok(response),
///                 Err(_) => again.oneshot(request).await,
///             }
///         })
///     }
/// }
///
/// /// Makes a thousand calls and returns their outcomes.
/// async fn run(faults: FaultLayer) -> Vec<String> {
///     let record = faults.faults();
///     let inner = service_fn(|request: u32| async move { Ok::<_, BoxError>(request) });
///     // `Strict` checks that the layer waits for readiness.
///     let service = Twice(Strict::new(faults.layer(inner)));
///     let mut outcomes = Vec::new();
///     for request in 0..1000 {
///         // Hanging calls are dropped, at once on a paused clock.
///         let call = tokio::time::timeout(secs(60), service.clone().oneshot(request));
///         let outcome = match call.await {
///             Err(_) => "hung".to_owned(),
///             Ok(Ok(response)) => {
///                 assert_eq!(response, request, "{record}");
///                 "answered".to_owned()
///             }
///             Ok(Err(error)) => InjectedFault::find(&*error).expect("no error of its own").to_string(),
///         };
///         outcomes.push(outcome);
///     }
///     // The layer holds no call back.
///     record.assert_idle();
///     assert!(record.count() > 1000, "it tries again");
///     outcomes
/// }
///
/// #[tokio::main(flavor = "current_thread", start_paused = true)]
/// async fn main() {
///     // In a test with a new seed each time, a message with `{record}` shows the seed.
///     let seed = 42;
///     let faults = FaultLayer::seeded(seed)
///         .inject(Fault::Error, 0.2)
///         .inject(Fault::Hang, 0.05)
///         .inject(Fault::SlowResponse, 0.1)
///         .inject(Fault::ReadinessError, 0.05);
///     let outcomes = run(faults.clone()).await;
///     let record = faults.faults();
///     assert!((150..250).contains(&(record.injected(Fault::Error) * 1000 / record.count())));
///
///     // The seed reproduces a failure. `inject` returns a layer whose counts start again.
///     assert_eq!(run(faults.clone().inject(Fault::Hang, 0.05)).await, outcomes);
///     // A script repeats the record, or the part of it that causes the failure.
///     let same = FaultLayer::seeded(seed)
///         .script(record.calls())
///         .readiness_script(record.readiness());
///     assert_eq!(run(same).await, outcomes);
/// }
/// ```
///
/// [`InjectedFault`]: crate::InjectedFault
#[derive(Clone)]
pub struct FaultLayer {
    plan: Arc<Plan>,
    record: Arc<Record>,
}

impl FaultLayer {
    /// A layer that injects nothing yet. The seed decides when faults happen, and how long delays
    /// are.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            plan: Arc::new(Plan::new(seed)),
            record: Arc::new(Record::new(seed)),
        }
    }

    /// Injects this fault with this chance, from 0 to 1, per call or per wait for readiness. A call
    /// has at most one fault. The last chance for the same fault counts.
    ///
    /// # Panics
    ///
    /// If the chance is not within 0 to 1, or if the chances of all call faults, or of all
    /// readiness faults, exceed 1.
    #[must_use]
    #[track_caller]
    pub fn inject(mut self, fault: Fault, chance: f64) -> Self {
        self.own().set(fault, chance);
        self
    }

    /// Injects each fault of [`Fault::ALL`] with this chance.
    ///
    /// # Panics
    ///
    /// If the chances of the seven call faults exceed 1 together.
    #[must_use]
    #[track_caller]
    pub fn inject_all(mut self, chance: f64) -> Self {
        let plan = self.own();
        for fault in Fault::ALL {
            plan.set(fault, chance);
        }
        self
    }

    /// Sets the fault of each call, in order, instead of random faults. No faults after the end of
    /// the script.
    ///
    /// # Panics
    ///
    /// If a fault is one of readiness.
    #[must_use]
    #[track_caller]
    pub fn script(mut self, faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let faults: Vec<_> = faults.into_iter().collect();
        for fault in faults.iter().flatten() {
            assert!(
                !fault.is_of_readiness(),
                "{fault} happens before a call: use `readiness_script`"
            );
        }
        self.own().calls = Some(faults);
        self
    }

    /// Sets the fault of each wait for readiness, in order, instead of random faults. No faults
    /// after the end of the script.
    ///
    /// # Panics
    ///
    /// If a fault is one of a call.
    #[must_use]
    #[track_caller]
    pub fn readiness_script(mut self, faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let faults: Vec<_> = faults.into_iter().collect();
        for fault in faults.iter().flatten() {
            assert!(
                fault.is_of_readiness(),
                "{fault} happens in a call: use `script`"
            );
        }
        self.own().readiness = Some(faults);
        self
    }

    /// Sets the range of random delays. Default: from 1 ms to 1 s.
    ///
    /// # Panics
    ///
    /// If the range is empty.
    #[must_use]
    #[track_caller]
    pub fn delays(mut self, delays: RangeInclusive<Duration>) -> Self {
        assert!(
            !delays.is_empty(),
            "the range of delays {delays:?} is empty"
        );
        self.own().delays = delays;
        self
    }

    /// The record of the injected faults.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns a layer with a
    /// new record, which the handle does not see.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.record))
    }

    /// For setters: detaches the plan and the record if they are in use.
    fn own(&mut self) -> &mut Plan {
        if Arc::strong_count(&self.record) > 1 {
            self.record = Arc::new(Record::new(self.plan.seed));
        }
        Arc::make_mut(&mut self.plan)
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty::new(inner, Arc::clone(&self.plan), Arc::clone(&self.record))
    }
}

impl fmt::Debug for FaultLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultLayer")
            .field("plan", &self.plan)
            .field("faults", &self.faults())
            .finish()
    }
}
