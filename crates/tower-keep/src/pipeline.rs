//! All seven layers in the documented order, with settings that fit together.
//!
//! Outermost first: Log, Progress, Cancel, Dedup, CircuitBreaker, Timeout (overall), Retry, Timeout (attempt), service.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer, Pipeline, TimeoutLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let pipeline = Pipeline::new()
//!     .dedup(DedupLayer::new(|id: &u64| Some(*id)).join())
//!     .timeout(TimeoutLayer::new(Duration::from_secs(120)))
//!     .build()
//!     .unwrap();
//! let circuit = pipeline.circuit_breaker().handle();
//! let service = ServiceBuilder::new()
//!     .layer(pipeline)
//!     .service(service_fn(|id: u64| async move { Ok::<_, BoxError>(id + 1) }));
//! assert_eq!(service.oneshot(1).await.unwrap(), 2);
//! # });
//! ```
//!
//! Settings that contradict each other are refused, with an error that names both and says what would work:
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::{Pipeline, TimeoutLayer};
//!
//! let error = Pipeline::new()
//!     .timeout(TimeoutLayer::new(Duration::from_secs(5)))
//!     .attempt_timeout(TimeoutLayer::per_attempt(Duration::from_secs(10)))
//!     .build()
//!     .unwrap_err();
//! assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
//! ```
//!
//! | checked | why |
//! |---|---|
//! | attempt limit <= overall limit | an attempt could never use its limit |
//! | sum of the retry's waits < overall limit | the last retry could never begin |
//! | step limit <= attempt limit, overall limit | a step could never use its limit |
//! | probe timeout >= overall limit | a slow probe would let more probes through than wanted |
//!
//! A limit that comes from the request is not checked, but whether the two limits are an overall one and one of each
//! attempt is. A probe timeout that is not set is made long enough.
//!
//! The variant with the circuit breaker inside the retry, where it counts attempts, is composed by hand in a
//! `ServiceBuilder`; so is every other order.

use std::time::Duration;

use tower_layer::Layer;

use crate::{
    cancel::CancelLayer,
    circuit_breaker::CircuitBreakerLayer,
    dedup::{DedupLayer, NoKey},
    log::LogLayer,
    progress::ProgressLayer,
    retry::RetryLayer,
    timeout::{FixedLimit, Span, TimeoutLayer},
};

/// Composes the seven layers. Each setter takes the layer as it is used alone.
#[derive(Clone, Debug)]
#[must_use = "a pipeline does nothing until it is built and put around a service"]
pub struct Pipeline<
    L = LogLayer,
    C = CancelLayer,
    D = DedupLayer<NoKey>,
    B = CircuitBreakerLayer,
    T = TimeoutLayer,
    R = RetryLayer,
    A = TimeoutLayer,
> {
    log: L,
    progress: ProgressLayer,
    cancel: C,
    dedup: D,
    circuit_breaker: B,
    timeout: T,
    retry: R,
    attempt_timeout: A,
}

impl Pipeline {
    /// Each layer's own defaults, no deduplication, 60 s overall and 10 s for each attempt.
    pub fn new() -> Self {
        Self {
            log: LogLayer::new(),
            progress: ProgressLayer::new(),
            cancel: CancelLayer::new(),
            dedup: DedupLayer::off(),
            circuit_breaker: CircuitBreakerLayer::new(),
            timeout: TimeoutLayer::new(Duration::from_secs(60)),
            retry: RetryLayer::new(),
            attempt_timeout: TimeoutLayer::per_attempt(Duration::from_secs(10)),
        }
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new()
    }
}

impl<L, C, D, B, T, R, A> Pipeline<L, C, D, B, T, R, A> {
    /// Where progress is shown. Default: [`ProgressLayer::new`].
    pub fn progress(mut self, progress: ProgressLayer) -> Self {
        self.progress = progress;
        self
    }

    /// How events are logged. Default: [`LogLayer::new`].
    pub fn log<N>(self, log: LogLayer<N>) -> Pipeline<LogLayer<N>, C, D, B, T, R, A> {
        let Self {
            log: _,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }

    /// How jobs are cancelled. Default: [`CancelLayer::new`].
    pub fn cancel<N1, N2, N3>(
        self,
        cancel: CancelLayer<N1, N2, N3>,
    ) -> Pipeline<L, CancelLayer<N1, N2, N3>, D, B, T, R, A> {
        let Self {
            log,
            progress,
            cancel: _,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }

    /// Which requests are duplicates. Default: none.
    pub fn dedup<N1, N2, N3>(
        self,
        dedup: DedupLayer<N1, N2, N3>,
    ) -> Pipeline<L, C, DedupLayer<N1, N2, N3>, B, T, R, A> {
        let Self {
            log,
            progress,
            cancel,
            dedup: _,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }

    /// When to stop calling. Default: [`CircuitBreakerLayer::new`].
    pub fn circuit_breaker<N1, N2>(
        self,
        circuit_breaker: CircuitBreakerLayer<N1, N2>,
    ) -> Pipeline<L, C, D, CircuitBreakerLayer<N1, N2>, T, R, A> {
        let Self {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker: _,
            timeout,
            retry,
            attempt_timeout,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }

    /// The limit over all attempts and waits. Default: 60 s.
    pub fn timeout<N1, N2>(
        self,
        timeout: TimeoutLayer<N1, N2>,
    ) -> Pipeline<L, C, D, B, TimeoutLayer<N1, N2>, R, A> {
        let Self {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout: _,
            retry,
            attempt_timeout,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }

    /// When to try again. Default: [`RetryLayer::new`].
    pub fn retry<N1, N2>(
        self,
        retry: RetryLayer<N1, N2>,
    ) -> Pipeline<L, C, D, B, T, RetryLayer<N1, N2>, A> {
        let Self {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry: _,
            attempt_timeout,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }

    /// The limit of each attempt. Default: 10 s.
    pub fn attempt_timeout<N1, N2>(
        self,
        attempt_timeout: TimeoutLayer<N1, N2>,
    ) -> Pipeline<L, C, D, B, T, R, TimeoutLayer<N1, N2>> {
        let Self {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout: _,
        } = self;
        Pipeline {
            log,
            progress,
            cancel,
            dedup,
            circuit_breaker,
            timeout,
            retry,
            attempt_timeout,
        }
    }
}

impl<L, C, D, B1, B2, T1, T2, R1, R2, A1, A2>
    Pipeline<
        L,
        C,
        D,
        CircuitBreakerLayer<B1, B2>,
        TimeoutLayer<T1, T2>,
        RetryLayer<R1, R2>,
        TimeoutLayer<A1, A2>,
    >
where
    T1: FixedLimit,
    A1: FixedLimit,
{
    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// [`PipelineError`] names the first two settings that contradict each other.
    #[allow(
        clippy::type_complexity,
        reason = "the type is the input's, in another struct"
    )]
    pub fn build(
        self,
    ) -> Result<
        PipelineLayer<
            L,
            C,
            D,
            CircuitBreakerLayer<B1, B2>,
            TimeoutLayer<T1, T2>,
            RetryLayer<R1, R2>,
            TimeoutLayer<A1, A2>,
        >,
        PipelineError,
    > {
        if self.timeout.span != Span::Overall {
            return Err(PipelineError {
                settings: ("timeout", "attempt_timeout"),
                message:
                    "timeout is set to a limit of each attempt: set it to TimeoutLayer::new, and \
                    attempt_timeout to the TimeoutLayer::per_attempt"
                        .to_owned(),
            });
        }
        if self.attempt_timeout.span != Span::Attempt {
            return Err(PipelineError {
                settings: ("attempt_timeout", "timeout"),
                message: "attempt_timeout is set to an overall limit, which the first slow attempt would end the job \
                    with: set it to TimeoutLayer::per_attempt, and timeout to the TimeoutLayer::new"
                    .to_owned(),
            });
        }
        let overall = self.timeout.limit.fixed_limit();
        let attempt = self.attempt_timeout.limit.fixed_limit();
        if let (Some(overall), Some(attempt)) = (overall, attempt) {
            shorter(("attempt_timeout", attempt), ("timeout", overall))?;
        }
        for step in [self.timeout.step_limit, self.attempt_timeout.step_limit]
            .into_iter()
            .flatten()
        {
            if let Some(attempt) = attempt {
                shorter(("step_limit", step), ("attempt_timeout", attempt))?;
            }
            if let Some(overall) = overall {
                shorter(("step_limit", step), ("timeout", overall))?;
            }
        }
        let waits = self.retry.total_delay();
        if let Some(overall) = overall.filter(|overall| waits >= *overall && !waits.is_zero()) {
            let fitting = self.retry.fitting_retries(overall);
            return Err(PipelineError {
                settings: ("retry", "timeout"),
                message: format!(
                    "retry waits {waits:?} in all, which does not fit into the timeout of {overall:?}: set max_retries to \
                     at most {fitting}, shorten base_delay or max_delay, or set timeout to more than {waits:?}"
                ),
            });
        }
        if let Some(overall) = overall {
            let circuit = &self.circuit_breaker.shared.circuit;
            if let Some(probe) = circuit.settings().probe_timeout {
                longer(
                    ("circuit_breaker.probe_timeout", probe),
                    ("timeout", overall),
                )?;
            }
            circuit.change_settings(|settings| {
                settings.least_probe_timeout = settings.least_probe_timeout.max(overall);
            });
        }
        Ok(PipelineLayer { layers: self })
    }
}

type Setting = (&'static str, Duration);

fn shorter((name, value): Setting, (than, limit): Setting) -> Result<(), PipelineError> {
    if value <= limit {
        return Ok(());
    }
    Err(PipelineError {
        settings: (name, than),
        message: format!(
            "{name} ({value:?}) is longer than {than} ({limit:?}) and could never expire: set {name} to at most \
             {limit:?}, or {than} to at least {value:?}"
        ),
    })
}

fn longer((name, value): Setting, (than, limit): Setting) -> Result<(), PipelineError> {
    if value >= limit {
        return Ok(());
    }
    Err(PipelineError {
        settings: (name, than),
        message: format!(
            "{name} ({value:?}) is shorter than {than} ({limit:?}), so that a slow probe would let others through: set \
             {name} to at least {limit:?}, or {than} to at most {value:?}"
        ),
    })
}

/// Two settings of a [`Pipeline`] contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PipelineError {
    settings: (&'static str, &'static str),
    message: String,
}

impl PipelineError {
    /// The two settings.
    #[must_use]
    pub fn settings(&self) -> (&'static str, &'static str) {
        self.settings
    }
}

/// The seven layers as one. Made by [`Pipeline::build`].
#[derive(Clone, Debug)]
pub struct PipelineLayer<
    L = LogLayer,
    C = CancelLayer,
    D = DedupLayer<NoKey>,
    B = CircuitBreakerLayer,
    T = TimeoutLayer,
    R = RetryLayer,
    A = TimeoutLayer,
> {
    layers: Pipeline<L, C, D, B, T, R, A>,
}

impl<L, C, D, B, T, R, A> PipelineLayer<L, C, D, B, T, R, A> {
    /// The progress layer, for its handle.
    #[must_use]
    pub fn progress(&self) -> &ProgressLayer {
        &self.layers.progress
    }

    /// The cancel layer, for its handle.
    #[must_use]
    pub fn cancel(&self) -> &C {
        &self.layers.cancel
    }

    /// The dedup layer.
    #[must_use]
    pub fn dedup(&self) -> &D {
        &self.layers.dedup
    }

    /// The circuit breaker layer, for its handle.
    #[must_use]
    pub fn circuit_breaker(&self) -> &B {
        &self.layers.circuit_breaker
    }
}

type Made<L, S> = <L as Layer<S>>::Service;

impl<S, L, C, D, B, T, R, A> Layer<S> for PipelineLayer<L, C, D, B, T, R, A>
where
    A: Layer<S>,
    R: Layer<Made<A, S>>,
    T: Layer<Made<R, Made<A, S>>>,
    B: Layer<Made<T, Made<R, Made<A, S>>>>,
    D: Layer<Made<B, Made<T, Made<R, Made<A, S>>>>>,
    C: Layer<Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>,
    L: Layer<crate::progress::Progress<Made<C, Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>>>,
{
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        let layers = &self.layers;
        let inner = layers.retry.layer(layers.attempt_timeout.layer(inner));
        let inner = layers.circuit_breaker.layer(layers.timeout.layer(inner));
        let inner = layers.cancel.layer(layers.dedup.layer(inner));
        layers.log.layer(layers.progress.layer(inner))
    }
}
