//! The verdict of a layer on a result: its kind, whether it still applies, and its text. Pure.

use std::{fmt, sync::Arc};

use crate::{
    error_text::{begins_with, text_of},
    event::FailureCause,
};

/// Why a layer stopped a call, or what a classifier says of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerdictKind {
    /// An overall limit expired: the job is over.
    TimedOut,
    /// The limit of one attempt expired: another attempt may follow.
    AttemptTimedOut,
    CircuitOpen,
    Duplicate,
    Cancelled,
    /// A foreign gate rejected the call.
    Rejected,
    /// The joined execution panicked.
    Panicked,
    /// A classifier calls this result a failure.
    Failure,
    /// A retry policy forbids further attempts; nothing else is known of the result.
    Forbidden,
}

impl VerdictKind {
    /// Whether the call was rejected before it reached the service.
    pub(crate) fn is_gate(self) -> bool {
        match self {
            Self::CircuitOpen | Self::Duplicate | Self::Cancelled | Self::Rejected => true,
            Self::TimedOut
            | Self::AttemptTimedOut
            | Self::Panicked
            | Self::Failure
            | Self::Forbidden => false,
        }
    }

    /// The failure cause of a job that ends with this verdict.
    pub(crate) fn cause(self) -> FailureCause {
        match self {
            Self::TimedOut | Self::AttemptTimedOut => FailureCause::TimedOut,
            Self::CircuitOpen => FailureCause::CircuitOpen,
            Self::Duplicate => FailureCause::Duplicate,
            Self::Rejected => FailureCause::Rejected,
            Self::Panicked => FailureCause::Panicked,
            Self::Cancelled | Self::Failure | Self::Forbidden => FailureCause::Error,
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::TimedOut => "the overall time limit expired",
            Self::AttemptTimedOut => "the time limit of the attempt expired",
            Self::CircuitOpen => "the circuit is open",
            Self::Duplicate => "an identical request is in flight",
            Self::Cancelled => "the job was cancelled",
            Self::Rejected => "a layer rejected the call",
            Self::Panicked => "the execution of the request panicked",
            Self::Failure => "the response is classified as a failure",
            Self::Forbidden => "no other attempt is allowed",
        }
    }
}

/// The verdict of a layer on the result that it returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) kind: VerdictKind,
    /// The layer answered with a response, so that `Ok` does not mean success.
    pub(crate) responded: bool,
    /// A retry policy forbids further attempts, whatever the kind.
    pub(crate) forbids: bool,
}

impl Verdict {
    /// Whether this verdict still applies to the returned result. It does not if a layer in between
    /// turned the error into a response.
    pub(crate) fn holds<T, E>(&self, result: &Result<T, E>) -> bool {
        result.is_err() || self.responded
    }

    /// Whether the layer made the response itself, instead of the service.
    #[cfg(feature = "http")]
    pub(crate) fn made_response(&self) -> bool {
        let is_of_service = matches!(self.kind, VerdictKind::Failure | VerdictKind::Forbidden);
        self.responded && !is_of_service
    }
}

/// A text for the result, next to the verdict.
#[derive(Clone, Debug)]
pub(crate) enum Explanation {
    /// An error and its causes; valid while the result is that error.
    Causes(Arc<str>),
    /// The description by a classifier or a rejecting layer; valid while the result is still a
    /// response, or still an error.
    Description { text: Arc<str>, of_response: bool },
}

/// A verdict and its explanation, taken off the thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) verdict: Option<Verdict>,
    explanation: Option<Arc<Explanation>>,
}

impl Carried {
    pub(in crate::job) fn new(
        verdict: Option<Verdict>,
        explanation: Option<Arc<Explanation>>,
    ) -> Self {
        Self {
            verdict,
            explanation,
        }
    }

    pub(in crate::job) fn into_parts(self) -> (Option<Verdict>, Option<Arc<Explanation>>) {
        (self.verdict, self.explanation)
    }

    /// The failure text of this result.
    pub(crate) fn text<T, E: fmt::Display>(&self, result: &Result<T, E>) -> Arc<str> {
        match (result, self.explanation.as_deref()) {
            (_, Some(Explanation::Description { text, of_response }))
                if *of_response == result.is_ok() =>
            {
                text.clone()
            }
            (Err(error), Some(Explanation::Causes(causes))) => with_causes(error, causes),
            (Err(error), _) => text_of(error),
            (Ok(_), _) => {
                let kind = self
                    .verdict
                    .map_or(VerdictKind::Failure, |verdict| verdict.kind);
                kind.describe().into()
            }
        }
    }
}

/// The causes, if they belong to this error: a layer in between may have replaced it.
fn with_causes<E: fmt::Display>(error: &E, causes: &Arc<str>) -> Arc<str> {
    match begins_with(causes, error) {
        true => causes.clone(),
        false => text_of(error),
    }
}
