//! [`Report`]: the progress of a job, as a fraction or an amount.

use std::{fmt, sync::Arc};

/// Progress of a job: a fraction, or an amount with or without a known total. Optionally a message
/// and a step.
///
/// | a report | its fraction |
/// |---|---|
/// | [`new`](Self::new) | as given, clamped to 0.0..=1.0; NaN is 0.0 |
/// | [`step`](Self::step) | `current / total`, at most 1.0; 0.0 if `total` is 0 |
/// | [`amount`](Self::amount) of a known total | `done / total`; 1.0 only if nothing is left, also for a `total` of 0 |
/// | [`amount`](Self::amount) of an unknown total | `None`: the report is indeterminate |
///
/// ```
/// use tower_keep::Report;
///
/// assert_eq!(Report::new(1.5).fraction(), Some(1.0));
/// assert_eq!(Report::new(f64::NAN).fraction(), Some(0.0));
/// assert_eq!(Report::step(1, 4).message("parsing").fraction(), Some(0.25));
/// assert_eq!(Report::step(1, 0).fraction(), Some(0.0));
/// assert_eq!(Report::items(30, Some(40)).fraction(), Some(0.75));
/// // A body without a Content-Length.
/// assert_eq!(Report::bytes(12 << 20, None).fraction(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    extent: Extent,
    message: Option<Arc<str>>,
    step: Option<(u32, u32)>,
}

/// The fraction, or the amount.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extent {
    Fraction(f64),
    Known { unit: Unit, done: u64, total: u64 },
    Unknown { unit: Unit, done: u64 },
}

impl Default for Extent {
    fn default() -> Self {
        Self::Fraction(0.0)
    }
}

/// The unit of an amount.
///
/// ```
/// use tower_keep::{Report, Unit};
///
/// assert_eq!(Report::bytes(5, None).unit(), Some(Unit::Bytes));
/// assert_eq!(Unit::Items.to_string(), "items");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Rows, files, messages: countable things.
    Items,
    /// Bytes.
    Bytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Items => "items",
            Self::Bytes => "bytes",
        })
    }
}

/// The largest number below 1.0.
const ALMOST: f64 = 1.0 - f64::EPSILON / 2.0;

impl Extent {
    fn fraction(self) -> Option<f64> {
        match self {
            Self::Fraction(fraction) => Some(fraction),
            Self::Known { done, total, .. } if done >= total => Some(1.0),
            // Beyond 2^53 the quotient may round up to 1.0, but incomplete work must stay below it.
            Self::Known { done, total, .. } => Some((done as f64 / total as f64).min(ALMOST)),
            Self::Unknown { .. } => None,
        }
    }
}

impl Report {
    fn of(extent: Extent) -> Self {
        Self {
            extent,
            message: None,
            step: None,
        }
    }

    /// A report of this fraction, clamped to 0.0..=1.0.
    #[must_use]
    pub fn new(fraction: f64) -> Self {
        // `max` and `min` ignore a NaN, so it needs its own case.
        Self::of(Extent::Fraction(if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        }))
    }

    /// A report that `current` of `total` steps are done. The fraction is `current / total`, or 0.0
    /// if `total` is 0.
    #[must_use]
    pub fn step(current: u32, total: u32) -> Self {
        let fraction = if total == 0 {
            0.0
        } else {
            f64::from(current) / f64::from(total)
        };
        Self::new(fraction).at_step(current, total)
    }

    /// A report of `done` out of `total`, or of an unknown total.
    ///
    /// Both numbers are kept as given. A `done` above the `total` has the fraction 1.0. A `total`
    /// of 0, as for an empty file, is complete at once. The total may change from report to report,
    /// and become known or unknown. A falling `done` is a restart, as by a retry. A first `done`
    /// above 0 is resumed work.
    #[must_use]
    pub fn amount(done: u64, total: Option<u64>, unit: Unit) -> Self {
        Self::of(match total {
            Some(total) => Extent::Known { unit, done, total },
            None => Extent::Unknown { unit, done },
        })
    }

    /// An [`amount`](Self::amount) in items.
    #[must_use]
    pub fn items(done: u64, total: Option<u64>) -> Self {
        Self::amount(done, total, Unit::Items)
    }

    /// An [`amount`](Self::amount) in bytes, such as a body with its `Content-Length`.
    #[must_use]
    pub fn bytes(done: u64, total: Option<u64>) -> Self {
        Self::amount(done, total, Unit::Bytes)
    }

    /// Adds a message for users.
    #[must_use]
    pub fn message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Adds the step, counted from 1, and the number of steps. The fraction stays as it is.
    ///
    /// ```
    /// use tower_keep::Report;
    ///
    /// let report = Report::bytes(512, Some(1024)).at_step(2, 3).message("upload");
    /// assert_eq!((report.fraction(), report.steps()), (Some(0.5), Some((2, 3))));
    /// ```
    #[must_use]
    pub fn at_step(mut self, current: u32, total: u32) -> Self {
        self.step = Some((current, total));
        self
    }

    /// The fraction, within 0.0..=1.0. `None` if the total is unknown: show a spinner or the bare
    /// amount.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        self.extent.fraction()
    }

    /// The completed amount, if one was reported.
    #[must_use]
    pub fn done(&self) -> Option<u64> {
        match self.extent {
            Extent::Known { done, .. } | Extent::Unknown { done, .. } => Some(done),
            Extent::Fraction(_) => None,
        }
    }

    /// The total amount, if one was reported.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        match self.extent {
            Extent::Known { total, .. } => Some(total),
            Extent::Unknown { .. } | Extent::Fraction(_) => None,
        }
    }

    /// The unit of the amount, if one was reported.
    #[must_use]
    pub fn unit(&self) -> Option<Unit> {
        match self.extent {
            Extent::Known { unit, .. } | Extent::Unknown { unit, .. } => Some(unit),
            Extent::Fraction(_) => None,
        }
    }

    /// The message, if one was given.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The current step, counted from 1, and the number of steps.
    #[must_use]
    pub fn steps(&self) -> Option<(u32, u32)> {
        self.step
    }

    /// The report to show for a job that succeeded after this report: everything is done.
    pub(crate) fn completed(&self) -> Self {
        let steps = self.step.filter(|(_, total)| *total > 0);
        let extent = match self.extent {
            Extent::Fraction(_) => Extent::Fraction(1.0),
            Extent::Known { unit, done, total } => Extent::Known {
                unit,
                done: done.max(total),
                total,
            },
            // Success makes the total known.
            Extent::Unknown { unit, done } => Extent::Known {
                unit,
                done,
                total: done,
            },
        };
        Self {
            extent,
            message: None,
            step: steps.map(|(_, total)| (total, total)),
        }
    }
}

impl From<f64> for Report {
    fn from(fraction: f64) -> Self {
        Self::new(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new field must also go into the serialized form.
    #[test]
    fn the_form_has_each_field() {
        let Report {
            extent: _,
            message: _,
            step: _,
        } = Report::default();
        #[cfg(feature = "serde")]
        {
            let form = serde_json::to_value(Report::default()).unwrap();
            let form = form.as_object().unwrap();
            assert_eq!(
                form.keys().collect::<Vec<_>>(),
                ["amount", "fraction", "message", "step"]
            );
        }
    }
}
