//! `Ratio`, a share for rates and budgets, and the errors of invalid ratios and time windows.

use std::{fmt, time::Duration};

/// A share of a whole for rates and budgets, above 0 and at most 1. Stored as a fraction, so that
/// comparisons are exact.
///
/// ```
/// use tower_keep::Ratio;
///
/// assert_eq!(Ratio::percent(50)?, Ratio::new(1, 2)?);
/// assert!(Ratio::percent(0).is_err());
/// assert!(Ratio::new(4, 3).is_err());
/// # Ok::<(), tower_keep::InvalidRatio>(())
/// ```
#[derive(Clone, Copy)]
pub struct Ratio {
    part: u32,
    of: u32,
}

impl Ratio {
    /// A half.
    pub const HALF: Self = Self { part: 1, of: 2 };

    /// The whole.
    pub const ALL: Self = Self { part: 1, of: 1 };

    /// A fifth: the default retry budget of Finagle, Envoy and tower.
    pub const FIFTH: Self = Self { part: 1, of: 5 };

    /// `part` out of `of`.
    ///
    /// # Errors
    ///
    /// [`InvalidRatio`] unless `0 < part <= of`.
    pub const fn new(part: u32, of: u32) -> Result<Self, InvalidRatio> {
        if part == 0 || part > of {
            Err(InvalidRatio { part, of })
        } else {
            Ok(Self { part, of })
        }
    }

    /// `percent` out of 100.
    ///
    /// # Errors
    ///
    /// [`InvalidRatio`] unless `percent` is from 1 to 100.
    pub const fn percent(percent: u32) -> Result<Self, InvalidRatio> {
        Self::new(percent, 100)
    }

    /// Whether `part` of `whole` is at least this share; `false` for an empty whole.
    pub(crate) fn is_reached(self, part: u64, whole: u64) -> bool {
        whole > 0
            && u128::from(part) * u128::from(self.of) >= u128::from(whole) * u128::from(self.part)
    }

    /// This share of `whole`, rounded down.
    pub(crate) fn of(self, whole: u64) -> u64 {
        let share = u128::from(whole) * u128::from(self.part) / u128::from(self.of);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// The ratio as a floating-point number, for display.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.part) / f64::from(self.of)
    }
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        u64::from(self.part) * u64::from(other.of) == u64::from(other.part) * u64::from(self.of)
    }
}

impl Eq for Ratio {}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

/// Shows the ratio in percent: exactly if six decimals suffice, otherwise rounded to four decimals
/// or four significant digits. A ratio below 1 never shows as `100 %`, and no ratio as `0 %`.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredfold = u128::from(self.part) * 100;
        let of = u128::from(self.of);
        let scaled = |decimals: u32| hundredfold * 10_u128.pow(decimals);
        let exact = (0..=6).find(|&decimals| scaled(decimals) % of == 0);
        let (digits, decimals) = match exact {
            Some(decimals) => (scaled(decimals) / of, decimals),
            None => {
                // The smallest ratio has its first significant digit at the eighth decimal.
                let decimals = (4..12)
                    .find(|&decimals| scaled(decimals) / of >= 1000)
                    .unwrap_or(12);
                let rounded = (scaled(decimals) + of / 2) / of;
                let all = 100 * 10_u128.pow(decimals);
                (rounded.min(all - 1), decimals)
            }
        };
        let unit = 10_u128.pow(decimals);
        let (whole, fraction) = (digits / unit, digits % unit);
        if fraction == 0 {
            return write!(f, "{whole} %");
        }
        let fraction = format!("{fraction:0width$}", width = decimals as usize);
        write!(f, "{whole}.{} %", fraction.trim_end_matches('0'))
    }
}

/// The error of a [`Ratio`] that is not above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid ratio {part}/{of}: must be above 0 and at most 1")]
pub struct InvalidRatio {
    part: u32,
    of: u32,
}

/// The error of a rate's or a budget's time window that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid window of {window:?}: must be at least {min:?}")]
pub struct InvalidWindow {
    window: Duration,
    min: Duration,
}

impl InvalidWindow {
    pub(crate) const fn new(window: Duration, min: Duration) -> Self {
        Self { window, min }
    }

    /// The rejected window.
    #[must_use]
    pub const fn window(self) -> Duration {
        self.window
    }

    /// The shortest valid window.
    #[must_use]
    pub const fn min(self) -> Duration {
        self.min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_exact_at_every_percent() {
        for percent in 1..=100 {
            let ratio = Ratio::percent(percent).unwrap();
            for whole in 1..=300_u64 {
                let share = u64::from(percent) * whole / 100;
                assert_eq!(ratio.of(whole), share);
                let least = (u64::from(percent) * whole).div_ceil(100);
                assert!(ratio.is_reached(least, whole));
                assert!(!ratio.is_reached(least - 1, whole));
            }
        }
    }

    #[test]
    fn rejects_invalid_ratios() {
        for (part, of) in [(0, 1), (0, 0), (1, 0), (2, 1), (u32::MAX, u32::MAX - 1)] {
            assert_eq!(Ratio::new(part, of), Err(InvalidRatio { part, of }));
        }
        assert!(!Ratio::ALL.is_reached(0, 0));
        assert_eq!(Ratio::new(u32::MAX, u32::MAX), Ok(Ratio::ALL));
        assert_eq!(Ratio::ALL.of(u64::MAX), u64::MAX);
    }

    /// R38b A ratio shows the percentage it was made from, without floating-point noise.
    #[test]
    fn shows_as_percents() {
        let shown = |part, of| Ratio::new(part, of).unwrap().to_string();
        for percent in 1..=100 {
            let ratio = Ratio::percent(percent).unwrap();
            assert_eq!(ratio.to_string(), format!("{percent} %"));
            assert_eq!(format!("{ratio:?}"), format!("{percent}/100"));
        }
        for permille in 1..1000 {
            let (whole, tenth) = (permille / 10, permille % 10);
            let expected = match tenth {
                0 => format!("{whole} %"),
                tenth => format!("{whole}.{tenth} %"),
            };
            assert_eq!(shown(permille, 1000), expected);
            // The same value from another fraction.
            assert_eq!(shown(permille * 7, 7000), expected);
        }
        for (part, of, expected) in [
            (1, 8, "12.5 %"),
            (1, 3, "33.3333 %"),
            (2, 3, "66.6667 %"),
            (1, 100_000_000, "0.000001 %"),
            (1, 700_000_000, "0.0000001429 %"),
            (1, u32::MAX, "0.00000002328 %"),
            (u32::MAX - 1, u32::MAX, "99.9999 %"),
            (u32::MAX, u32::MAX, "100 %"),
        ] {
            assert_eq!(shown(part, of), expected);
        }
    }

    /// R38b The error of an invalid ratio states the valid range.
    #[test]
    fn an_invalid_ratio_says_what_is_valid() {
        let error = Ratio::new(0, 1).unwrap_err();
        let expected = "invalid ratio 0/1: must be above 0 and at most 1";
        assert_eq!(error.to_string(), expected);
    }
}
