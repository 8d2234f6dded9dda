//! How far a job is.

use std::{fmt, sync::Arc};

/// How far a job is: a fraction, or an amount of a total that may be unknown; and optionally a message and a step.
///
/// | a report | its fraction |
/// |---|---|
/// | [`new`](Self::new) | as given, clamped to 0.0..=1.0; NaN is 0.0 |
/// | [`step`](Self::step) | `current / total`, at most 1.0; 0.0 if `total` is 0 |
/// | [`amount`](Self::amount) of a known total | `done / total`; 1.0 only if nothing is left, so also if `total` is 0 |
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

/// How much is done.
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

/// What an amount counts.
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
    /// Rows, files, messages: whatever the job works through one by one.
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
            // Of numbers past 2^53 the quotient may be rounded up: what is not complete must not look so.
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

    /// A report of this fraction.
    #[must_use]
    pub fn new(fraction: f64) -> Self {
        // `max` and `min` would keep a NaN on one side only, so it is named.
        Self::of(Extent::Fraction(if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        }))
    }

    /// Step `current` of `total` is done: the fraction is `current / total`, and 0.0 if `total` is 0.
    #[must_use]
    pub fn step(current: u32, total: u32) -> Self {
        let fraction = if total == 0 {
            0.0
        } else {
            f64::from(current) / f64::from(total)
        };
        Self::new(fraction).at_step(current, total)
    }

    /// `done` of `total`, or of an unknown total.
    ///
    /// Both numbers are kept as they are, also a `done` beyond the `total`; the fraction is 1.0 then. A `total` of 0 is
    /// complete at once, as that of an empty file. The total may change from report to report, and become known or
    /// unknown. A `done` that falls is a new beginning, as of a retry; a first one above 0 is a resumed one.
    #[must_use]
    pub fn amount(done: u64, total: Option<u64>, unit: Unit) -> Self {
        Self::of(match total {
            Some(total) => Extent::Known { unit, done, total },
            None => Extent::Unknown { unit, done },
        })
    }

    /// An [`amount`](Self::amount) of items.
    #[must_use]
    pub fn items(done: u64, total: Option<u64>) -> Self {
        Self::amount(done, total, Unit::Items)
    }

    /// An [`amount`](Self::amount) of bytes, such as those of a body with its `Content-Length`.
    #[must_use]
    pub fn bytes(done: u64, total: Option<u64>) -> Self {
        Self::amount(done, total, Unit::Bytes)
    }

    /// Adds a message for people.
    #[must_use]
    pub fn message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Adds the step, counted from 1, and how many there are. The fraction stays that of the amount.
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

    /// The fraction that is done, within 0.0..=1.0; `None` if the total is unknown. A bar shows that as a spinner, or
    /// as the bare amount.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        self.extent.fraction()
    }

    /// The amount that is done, if one was reported.
    #[must_use]
    pub fn done(&self) -> Option<u64> {
        match self.extent {
            Extent::Known { done, .. } | Extent::Unknown { done, .. } => Some(done),
            Extent::Fraction(_) => None,
        }
    }

    /// The whole amount, if one was reported.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        match self.extent {
            Extent::Known { total, .. } => Some(total),
            Extent::Unknown { .. } | Extent::Fraction(_) => None,
        }
    }

    /// What the amount counts, if one was reported.
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

    /// The current step, counted from 1, and how many there are.
    #[must_use]
    pub fn steps(&self) -> Option<(u32, u32)> {
        self.step
    }

    /// What is shown of a job that succeeded, and reported this last: all is done.
    pub(crate) fn completed(&self) -> Self {
        let steps = self.step.filter(|(_, total)| *total > 0);
        let extent = match self.extent {
            Extent::Fraction(_) => Extent::Fraction(1.0),
            Extent::Known { unit, done, total } => Extent::Known {
                unit,
                done: done.max(total),
                total,
            },
            // Now it is known.
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

    /// A further field goes into the serialised form too.
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
