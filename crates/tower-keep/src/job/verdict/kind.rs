//! What a layer says of a result, next to the result itself. Pure.

use std::{fmt, sync::Arc};

use crate::{
    error_text::{begins_with, text_of},
    event::FailureCause,
};

/// Which kind of stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerdictKind {
    /// An overall limit: the job is over.
    TimedOut,
    /// The limit of one attempt: another may follow.
    AttemptTimedOut,
    CircuitOpen,
    Duplicate,
    Cancelled,
    /// A gate that is not one of our layers turned the call away.
    Rejected,
    /// An execution that this call had joined panicked.
    Panicked,
    /// A classifier called this result a failure.
    Failure,
    /// A retry's policy forbade any other attempt, and there is no more to say of the result.
    Forbidden,
}

impl VerdictKind {
    /// The call was turned away before the service saw it.
    pub(crate) fn is_gate(self) -> bool {
        matches!(
            self,
            Self::CircuitOpen | Self::Duplicate | Self::Cancelled | Self::Rejected
        )
    }

    /// Why a job that ends with this failed.
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

/// A layer's note that it stopped the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) kind: VerdictKind,
    /// The layer answered with a response, so that `Ok` does not mean success.
    pub(crate) responded: bool,
    /// A retry's policy forbade any other attempt, whatever else there is to say of the result.
    pub(crate) forbids: bool,
}

impl Verdict {
    /// Whether this note still holds for the result that came up: where somebody in between turned a layer's error
    /// into a response, it does not.
    pub(crate) fn holds<T, E>(&self, result: &Result<T, E>) -> bool {
        result.is_err() || self.responded
    }
}

/// What is left of the result in hand, next to the note.
#[derive(Clone, Debug)]
pub(crate) enum Explanation {
    /// An error and its causes, of use as long as the result is that error.
    Causes(Arc<str>),
    /// What a classifier or a rejecting layer says of the result, of use as long as that is still a
    /// response, or still an error.
    Description { text: Arc<str>, of_response: bool },
}

/// A note and its text, off the thread.
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

    /// The text of a failure with this result.
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

/// The causes, if they are of this error: a layer in between may have made another one of it.
fn with_causes<E: fmt::Display>(error: &E, causes: &Arc<str>) -> Arc<str> {
    match begins_with(causes, error) {
        true => causes.clone(),
        false => text_of(error),
    }
}
