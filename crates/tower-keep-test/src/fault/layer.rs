//! The layer and its settings.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    kind::Fault,
    plan::Plan,
    record::{Faults, Record},
    service::Faulty,
};

/// Puts faults between a layer and its service, by a seed or by a script: errors, panics, calls that hang, readiness that
/// never comes, wakes that come late or for nothing. See [`Fault`] for all of them.
///
/// It goes inside the layer under test, around a service that works, whose error can be made of an [`InjectedFault`]: a
/// `Box<dyn Error + Send + Sync>`, or an error of your own with `From<InjectedFault>`. Without a setting it injects nothing.
///
/// # Determinism
///
/// The nth call has the nth fault: it depends on the seed, the settings and the number of the call, and on nothing else.
/// The same holds for the nth wait for readiness, which is counted apart: it begins with the first `poll_ready` of an
/// instance after its last call. All services of a layer, and their clones, count together. So in one task, or on a
/// runtime of one thread, a seed makes the same run each time. On several threads the faults and their order stay the
/// same; which caller makes the nth call depends on the threads.
///
/// Clones of the layer share the count and the record. A setter on a layer that is in use, as by a clone, a handle or a
/// service, gives a layer that begins with the first call: configure first, then take handles.
///
/// # Faults that panic
///
/// [`PanicInCall`](Fault::PanicInCall) and [`PanicInPoll`](Fault::PanicInPoll), which [`inject_all`](Self::inject_all) has
/// too, go through the layer to the caller, and would end the test. Make each call in a task of its own: the join error has
/// the fault, as [`InjectedFault::of_panic`](crate::InjectedFault::of_panic) shows. Each of these panics is printed, as `Box<dyn Any>`.
///
/// # A limit inside
///
/// A call that fails by a fault does not reach the service, so the called instance stays ready. Where a
/// `ConcurrencyLimit` is inside, this instance keeps its permit until its next call or its drop. Put the limit around the
/// `FaultLayer`, or call a clone for each request.
///
/// # Example
///
/// A layer that tries again once, under a thousand calls. In a test-suite, `main` would be a
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
/// /// Makes a thousand calls, and says what came of them.
/// async fn run(faults: FaultLayer) -> Vec<String> {
///     let record = faults.faults();
///     let inner = service_fn(|request: u32| async move { Ok::<_, BoxError>(request) });
///     // `Strict` makes sure that the layer asks for readiness.
///     let service = Twice(Strict::new(faults.layer(inner)));
///     let mut outcomes = Vec::new();
///     for request in 0..1000 {
///         // What hangs is dropped, in no time on a paused clock.
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
///     // The layer holds nothing back.
///     record.assert_idle();
///     assert!(record.count() > 1000, "it tries again");
///     outcomes
/// }
///
/// #[tokio::main(flavor = "current_thread", start_paused = true)]
/// async fn main() {
///     // In a test that takes a new seed each time, a message with `{record}` says which it was.
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
///     // A failure is reproduced by its seed. `inject` gives a layer that begins with the first call again.
///     assert_eq!(run(faults.clone().inject(Fault::Hang, 0.05)).await, outcomes);
///     // A script repeats what was recorded, or as much of it as makes the failure.
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
    /// Injects nothing so far; the seed says when what is set happens, and how long a delay is.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            plan: Arc::new(Plan::new(seed)),
            record: Arc::new(Record::new(seed)),
        }
    }

    /// Injects this fault with this chance, from 0 to 1, in each call, or in each wait for readiness where it is a fault of
    /// that. A call has one fault at most. Said again for the same fault, the last chance counts.
    ///
    /// # Panics
    ///
    /// If the chance is not within 0 to 1, or if the chances of the faults of a call, or of readiness, sum up to more than 1.
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
    /// If that is more than 1 for all the faults of a call together, of which there are seven.
    #[must_use]
    #[track_caller]
    pub fn inject_all(mut self, chance: f64) -> Self {
        let plan = self.own();
        for fault in Fault::ALL {
            plan.set(fault, chance);
        }
        self
    }

    /// The fault of each call, the first one first, instead of by chance. After the script's end there are none.
    ///
    /// # Panics
    ///
    /// If one is a fault of readiness.
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

    /// The fault of each wait for readiness, the first one first, instead of by chance. After the script's end there are
    /// none.
    ///
    /// # Panics
    ///
    /// If one is a fault of a call.
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

    /// How long what is slow or late takes, by chance. Default: from 1 ms to 1 s.
    ///
    /// # Panics
    ///
    /// If the range is empty.
    #[must_use]
    #[track_caller]
    pub fn delays(mut self, delays: RangeInclusive<Duration>) -> Self {
        assert!(!delays.is_empty(), "there is no delay within {delays:?}");
        self.own().delays = delays;
        self
    }

    /// What was injected.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with a record of its own,
    /// which this handle does not see.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.record))
    }

    /// For a setter: nobody else notices it.
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
