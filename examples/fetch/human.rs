//! Sizes and times as people read them.

use std::{fmt, time::Duration};

/// Shows a number of bytes: `512 B`, `1.5 KiB`, `8.0 MiB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = "KiB";
        for larger in ["MiB", "GiB", "TiB"] {
            // What would be rounded to 1024.0 is 1.0 of the next unit.
            if value < 1023.95 {
                break;
            }
            value /= 1024.0;
            unit = larger;
        }
        write!(f, "{value:.1} {unit}")
    }
}

/// Shows a duration: `250 ms`, `1.2 s`, `2 min 05 s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0..=999 => write!(f, "{millis} ms"),
            1_000..=59_949 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            _ => {
                let seconds = (millis + 500) / 1000;
                write!(f, "{} min {:02} s", seconds / 60, seconds % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown = [0, 1023, 1024, 1536, 1024 * 1024 - 1, 8 << 20, 5 << 40]
            .map(|bytes| Size(bytes).to_string());
        assert_eq!(
            shown,
            [
                "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "8.0 MiB", "5.0 TiB"
            ]
        );
    }

    #[test]
    fn times() {
        let shown = [0, 999, 1000, 12_340, 59_949, 59_950, 125_400]
            .map(|millis| Took(Duration::from_millis(millis)).to_string());
        assert_eq!(
            shown,
            [
                "0 ms",
                "999 ms",
                "1.0 s",
                "12.3 s",
                "59.9 s",
                "1 min 00 s",
                "2 min 05 s"
            ]
        );
    }
}
