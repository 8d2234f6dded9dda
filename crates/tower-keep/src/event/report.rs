use std::sync::Arc;

/// How far a job is: a fraction, and optionally a message and a step.
///
/// The fraction is always within 0.0..=1.0: what is outside is clamped, NaN is 0.
///
/// ```
/// use tower_keep::Report;
///
/// assert_eq!(Report::new(1.5).fraction(), 1.0);
/// assert_eq!(Report::new(f64::NAN).fraction(), 0.0);
/// assert_eq!(Report::step(1, 4).message("parsing").fraction(), 0.25);
/// assert_eq!(Report::step(1, 0).fraction(), 0.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    fraction: f64,
    message: Option<Arc<str>>,
    step: Option<(u32, u32)>,
}

impl Report {
    /// A report of this fraction.
    #[must_use]
    pub fn new(fraction: f64) -> Self {
        Self {
            // `max` and `min` would keep a NaN on one side only, so it is named.
            fraction: if fraction.is_nan() {
                0.0
            } else {
                fraction.clamp(0.0, 1.0)
            },
            message: None,
            step: None,
        }
    }

    /// Step `current` of `total` is done: the fraction is `current / total`, and 0.0 if `total` is 0.
    #[must_use]
    pub fn step(current: u32, total: u32) -> Self {
        let fraction = if total == 0 {
            0.0
        } else {
            f64::from(current) / f64::from(total)
        };
        Self {
            step: Some((current, total)),
            ..Self::new(fraction)
        }
    }

    /// Adds a message for people.
    #[must_use]
    pub fn message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The fraction that is done, within 0.0..=1.0.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.fraction
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
            fraction: _,
            message: _,
            step: _,
        } = Report::default();
        #[cfg(feature = "serde")]
        {
            let form = serde_json::to_value(Report::default()).unwrap();
            let form = form.as_object().unwrap();
            assert_eq!(
                form.keys().collect::<Vec<_>>(),
                ["fraction", "message", "step"]
            );
        }
    }
}
