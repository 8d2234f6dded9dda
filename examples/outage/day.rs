//! The day: how much is asked for at which hour, and what goes wrong when.

use std::time::Duration;

const HOUR: f64 = 3600.0;

/// Noon, when most is asked for, is when the brown-out begins.
pub(crate) const BROWN_OUT: Phase = Phase::minutes(0, 10);

/// Within the brown-out the backend answers nothing at all for a while.
pub(crate) const OUTAGE: Phase = Phase::minutes(3, 7);

/// From one moment up to another, in seconds since noon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Phase {
    pub(crate) const fn minutes(from: i64, to: i64) -> Self {
        Self {
            from: from * 60,
            to: to * 60,
        }
    }

    pub(crate) const fn seconds(self) -> usize {
        (self.to - self.from) as usize
    }

    pub(crate) const fn contains(self, since_noon: i64) -> bool {
        self.from <= since_noon && since_noon < self.to
    }
}

/// How the backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    /// All takes several times as long.
    BrownOut,
    /// It answers nothing.
    Down,
}

/// What the simulation plays: the hours around noon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day {
    pub(crate) hours: u32,
    pub(crate) clients: u32,
    pub(crate) seed: u64,
}

impl Day {
    pub(crate) fn length(self) -> Duration {
        Duration::from_secs(self.seconds() as u64)
    }

    pub(crate) const fn seconds(self) -> usize {
        self.hours as usize * 3600
    }

    /// The whole of it.
    pub(crate) const fn whole(self) -> Phase {
        let half = self.seconds() as i64 / 2;
        Phase {
            from: -half,
            to: half,
        }
    }

    /// What can be called normal: an hour, or what there is of it, up to some minutes before the
    /// brown-out.
    pub(crate) fn before(self) -> Phase {
        let to = BROWN_OUT.from - 300;
        Phase {
            from: self.whole().from.max(to - 3600),
            to,
        }
    }

    /// Seconds since noon, of a time since the day's beginning.
    pub(crate) fn since_noon(self, since_start: Duration) -> i64 {
        since_start.as_secs() as i64 + self.whole().from
    }

    pub(crate) fn health(self, since_start: Duration) -> Health {
        let now = self.since_noon(since_start);
        if OUTAGE.contains(now) {
            Health::Down
        } else if BROWN_OUT.contains(now) {
            Health::BrownOut
        } else {
            Health::Well
        }
    }

    /// How long a client waits from one call to its next: half an hour at noon, five times as long
    /// at midnight.
    ///
    /// The curve is a polynomial, which comes out the same on every machine; a cosine need not.
    pub(crate) fn rhythm(self, since_start: Duration) -> Duration {
        let from_noon = self.since_noon(since_start).unsigned_abs() as f64 / (12.0 * HOUR);
        let light = 1.0 - from_noon;
        let busy = light * light * (3.0 - 2.0 * light);
        Duration::from_secs_f64(HOUR / 2.0 / (0.2 + 0.8 * busy))
    }
}

/// The time of day, such as `12:03`.
pub(crate) fn clock(since_noon: i64) -> String {
    let minutes = (since_noon + 12 * 3600).div_euclid(60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}
