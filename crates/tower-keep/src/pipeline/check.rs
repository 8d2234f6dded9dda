use std::time::Duration;

use super::{layer::PipelineLayer, settings::Pipeline};
use crate::{
    circuit_breaker::{CircuitBreakerLayer, Circuits},
    retry::RetryLayer,
    timeout::{FixedLimit, Measure, Span, TimeoutLayer},
};

impl<L, C, D, B1, B2, B3, T1, T2, R1, R2, R3, R4, A1, A2>
    Pipeline<
        L,
        C,
        D,
        CircuitBreakerLayer<B1, B2, B3>,
        TimeoutLayer<T1, T2>,
        RetryLayer<R1, R2, R3, R4>,
        TimeoutLayer<A1, A2>,
    >
where
    B3: Circuits,
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
            CircuitBreakerLayer<B1, B2, B3>,
            TimeoutLayer<T1, T2>,
            RetryLayer<R1, R2, R3, R4>,
            TimeoutLayer<A1, A2>,
        >,
        PipelineError,
    > {
        if self.timeout.span != Span::Overall {
            return Err(PipelineError {
                settings: ("timeout", "attempt_timeout"),
                message: "timeout is set to a limit of each attempt: leave per_attempt() out there, and set \
                    attempt_timeout to the limit of an attempt"
                    .to_owned(),
            });
        }
        if self.attempt_timeout.span != Span::Attempt {
            return Err(PipelineError {
                settings: ("attempt_timeout", "timeout"),
                message: "attempt_timeout is set to an overall limit, which the first slow attempt would end the job \
                    with: add per_attempt() to it, and set timeout to the overall limit"
                    .to_owned(),
            });
        }
        let overall = Limit::of("timeout", &self.timeout);
        let attempt = Limit::of("attempt_timeout", &self.attempt_timeout);
        if let (Some(overall), Some(attempt)) = (&overall, &attempt) {
            attempt.fits_into(overall)?;
        }
        // Only these bound how long something takes: with progress, an idle limit never expires.
        let total = |limit: Option<Limit>| limit.filter(|limit| limit.measure == Measure::Total);
        let (overall, attempt) = (total(overall), total(attempt));
        let ends = overall.as_ref().map(Limit::end);
        let overall = overall.map(|limit| limit.value);
        let attempt = attempt.map(|limit| limit.value);
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
        if let Some(ends) = ends {
            let circuits = &self.circuit_breaker.gate;
            if let Some(probe) = circuits.settings().probe_timeout {
                longer(("circuit_breaker.probe_timeout", probe), ("timeout", ends))?;
            }
            circuits.change_settings(&|settings| {
                settings.least_probe_timeout = settings.least_probe_timeout.max(ends);
            });
        }
        Ok(PipelineLayer::new(self))
    }
}

/// A limit that is known before there is a request.
struct Limit {
    name: &'static str,
    value: Duration,
    grace: Duration,
    measure: Measure,
}

impl Limit {
    fn of<T, O>(name: &'static str, layer: &TimeoutLayer<T, O>) -> Option<Self>
    where
        T: FixedLimit,
    {
        Some(Self {
            name,
            value: layer.limit.fixed_limit()?,
            grace: layer.grace_period().unwrap_or_default(),
            measure: layer.measure,
        })
    }

    /// What it limits is gone by then.
    fn end(&self) -> Duration {
        self.value.saturating_add(self.grace)
    }

    /// The limit of an attempt, and the overall one.
    fn fits_into(&self, overall: &Self) -> Result<(), PipelineError> {
        let (inner, outer) = ((self.name, self.value), (overall.name, overall.value));
        match (self.measure, overall.measure) {
            // An attempt that begins is progress: it ends before the job was idle for as long.
            (Measure::Total, Measure::Idle) => shorter(outer, inner),
            (_, Measure::Idle) => shorter(inner, outer),
            (_, Measure::Total) => {
                shorter(inner, outer)?;
                graced(inner, self.grace, outer)
            }
        }
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

fn graced(
    (name, value): Setting,
    grace: Duration,
    (than, limit): Setting,
) -> Result<(), PipelineError> {
    let end = value.saturating_add(grace);
    if end <= limit {
        return Ok(());
    }
    Err(PipelineError {
        settings: (name, than),
        message: format!(
            "{name} ({value:?}) and its grace period ({grace:?}) are longer than {than} ({limit:?}), which would cut even \
             the first one short: set the grace period to at most {:?}, or {than} to at least {end:?}",
            limit.saturating_sub(value)
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
