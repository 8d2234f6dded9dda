//! [`Pipeline::build`]: checks that the settings fit together.

use std::time::Duration;

use super::{
    layer::PipelineLayer,
    settings::Pipeline,
    slot::{Slot, SlotLimits},
    slots,
};
use crate::timeout::{Measure, Span};

impl<L, P, C, D, B, T, R, A> Pipeline<L, P, C, D, B, T, R, A>
where
    P: Slot<slots::Progress>,
    C: Slot<slots::Cancel>,
    B: Slot<slots::CircuitBreaker>,
    T: Slot<slots::Timeout>,
    R: Slot<slots::Retry>,
    A: Slot<slots::Timeout>,
{
    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// [`PipelineError`] names the first two contradicting settings.
    pub fn build(mut self) -> Result<PipelineLayer<Self>, PipelineError> {
        let overall = self.timeout.facts().limits;
        let attempt = self.attempt_timeout.facts().limits;
        if overall.is_some_and(|limits| limits.span != Span::Overall) {
            return Err(PipelineError {
                settings: ("timeout", "attempt_timeout"),
                message: "timeout is a limit of each attempt: remove its per_attempt(), and set \
                    attempt_timeout to the limit of an attempt"
                    .to_owned(),
            });
        }
        if attempt.is_some_and(|limits| limits.span != Span::Attempt) {
            return Err(PipelineError {
                settings: ("attempt_timeout", "timeout"),
                message:
                    "attempt_timeout is an overall limit, so the first slow attempt would end the \
                    job: add per_attempt() to it, and set timeout to the overall limit"
                        .to_owned(),
            });
        }
        let idle = attempt.and_then(|limits| limits.idle);
        // An overall limit that ends at the head leaves the body to the idle limit.
        let idle = idle.filter(|_| overall.is_some_and(|limits| limits.includes_body));
        let steps = [overall, attempt].map(|limits| limits?.step);
        let overall = overall.and_then(|limits| Limit::of("timeout", limits));
        let attempt = attempt.and_then(|limits| Limit::of("attempt_timeout", limits));
        if let (Some(overall), Some(attempt)) = (&overall, &attempt) {
            attempt.fits_into(overall)?;
        }
        if let (Some(overall), Some(idle)) = (&overall, idle) {
            shorter(
                ("attempt_timeout.idle", idle),
                (overall.name, overall.value),
            )?;
        }
        // Only total limits bound a duration: with progress, an idle limit never expires.
        let total = |limit: Option<Limit>| limit.filter(|limit| limit.measure == Measure::Total);
        let (overall, attempt) = (total(overall), total(attempt));
        let ends = overall.as_ref().map(Limit::end);
        let overall = overall.map(|limit| limit.value);
        let attempt = attempt.map(|limit| limit.value);
        for step in steps.into_iter().flatten() {
            if let Some(attempt) = attempt {
                shorter(("step_limit", step), ("attempt_timeout", attempt))?;
            }
            if let Some(overall) = overall {
                shorter(("step_limit", step), ("timeout", overall))?;
            }
        }
        if let (Some(overall), Some(retries)) = (overall, self.retry.facts().retries) {
            let waits = retries.total_delay();
            if waits >= overall && !waits.is_zero() {
                let fitting = retries.fitting_retries(overall);
                return Err(PipelineError {
                    settings: ("retry", "timeout"),
                    message: format!(
                        "retry waits {waits:?} in all, which does not fit into the timeout of {overall:?}: set \
                         max_retries to at most {fitting}, shorten base_delay or max_delay, or set timeout to more \
                         than {waits:?}"
                    ),
                });
            }
        }
        if let (Some(ends), Some(circuits)) = (ends, self.circuit_breaker.facts().circuits) {
            if let Some(probe) = circuits.settings().probe_timeout {
                longer(("circuit_breaker.probe_timeout", probe), ("timeout", ends))?;
            }
            circuits.change_settings(&|settings| {
                settings.least_probe_timeout = settings.least_probe_timeout.max(ends);
            });
        }
        // Progress and Cancel share one table of the running jobs.
        if let Some(table) = self.progress.table() {
            self.cancel.share(table);
        }
        self.clones.built();
        Ok(PipelineLayer::new(self))
    }
}

/// A limit that is known without a request.
struct Limit {
    name: &'static str,
    value: Duration,
    grace: Duration,
    measure: Measure,
}

impl Limit {
    fn of(name: &'static str, limits: SlotLimits) -> Option<Self> {
        Some(Self {
            name,
            value: limits.fixed?,
            grace: limits.grace,
            measure: limits.measure,
        })
    }

    /// When the limited work is gone, including the grace period.
    fn end(&self) -> Duration {
        self.value.saturating_add(self.grace)
    }

    /// Checks the limit of an attempt against the overall limit.
    fn fits_into(&self, overall: &Self) -> Result<(), PipelineError> {
        let (inner, outer) = ((self.name, self.value), (overall.name, overall.value));
        match (self.measure, overall.measure) {
            // A new attempt is progress: it ends before the job is idle for that long.
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
            "{name} ({value:?}) and its grace period ({grace:?}) are longer than {than} ({limit:?}), which would cut the \
             first grace period short: set the grace period to at most {:?}, or {than} to at least {end:?}",
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
            "{name} ({value:?}) is shorter than {than} ({limit:?}), so a slow probe would let further probes through: set \
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
    /// The names of the two settings.
    #[must_use]
    pub fn settings(&self) -> (&'static str, &'static str) {
        self.settings
    }
}
