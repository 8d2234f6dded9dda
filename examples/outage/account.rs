//! What the day comes to under one policy.

use crate::{
    books::Second,
    day::{BROWN_OUT, Day, Phase},
    policies::{CALLS_PER_RETRY, Policy, WINDOW},
};

/// It is well again when this share of what is normal succeeds.
const WELL: f64 = 0.99;

/// For how long it has to stay so, in minutes.
const STAYS: usize = 5;

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) policy: Policy,
    pub(crate) day: Day,
    seconds: Vec<Second>,
}

/// Sums over some time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) calls: u64,
    pub(crate) fulfilled: u64,
    pub(crate) answered: u64,
    pub(crate) first_attempts: u64,
    pub(crate) attempts: u64,
    pub(crate) retries_granted: u64,
}

impl Sums {
    fn of(seconds: &[Second]) -> Self {
        let mut sums = Self::default();
        for second in seconds {
            sums.calls += u64::from(second.calls);
            sums.fulfilled += u64::from(second.fulfilled);
            sums.answered += u64::from(second.answered);
            sums.first_attempts += u64::from(second.first_attempts);
            sums.attempts += u64::from(second.attempts);
            sums.retries_granted += u64::from(second.retries_granted);
        }
        sums
    }

    /// The share of the calls that succeeded: the goodput, seen by those who call.
    pub(crate) fn goodput(self) -> f64 {
        ratio(self.fulfilled, self.calls)
    }

    /// How many attempts the backend gets for each call of a client. A circuit makes that less than
    /// one.
    pub(crate) fn load_per_call(self) -> f64 {
        ratio(self.attempts, self.calls)
    }

    /// How many attempts it gets for each call that came as far as the retry: what a budget bounds.
    pub(crate) fn amplification(self) -> f64 {
        ratio(self.attempts, self.first_attempts)
    }
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        part as f64 / of as f64
    }
}

impl Account {
    pub(crate) fn new(policy: Policy, day: Day, seconds: Vec<Second>) -> Self {
        Self {
            policy,
            day,
            seconds,
        }
    }

    pub(crate) fn over(&self, phase: Phase) -> Sums {
        Sums::of(self.slice(phase))
    }

    /// Sums over consecutive spans of this many seconds.
    pub(crate) fn spans(&self, phase: Phase, seconds: usize) -> impl Iterator<Item = Sums> + '_ {
        self.slice(phase).chunks(seconds).map(Sums::of)
    }

    /// As much of the phase as the day has.
    fn slice(&self, phase: Phase) -> &[Second] {
        let index = |since_noon: i64| {
            let index = usize::try_from(since_noon - self.day.whole().from).unwrap_or(0);
            index.min(self.seconds.len())
        };
        &self.seconds[index(phase.from)..index(phase.to)]
    }

    /// The most attempts in a second, over ten of them.
    pub(crate) fn peak_load(&self) -> f64 {
        let tens = self.spans(self.day.whole(), 10);
        tens.map(|sums| sums.attempts).max().unwrap_or(0) as f64 / 10.0
    }

    /// How many minutes after the end of the brown-out as much succeeds as before it, and goes on
    /// to; `None` if never.
    pub(crate) fn recovered_after(&self) -> Option<usize> {
        let normal = self.over(self.day.before()).goodput();
        let after = Phase {
            from: BROWN_OUT.to,
            ..self.day.whole()
        };
        let minutes: Vec<_> = self.slice(after).chunks(60).collect();
        minutes.windows(STAYS).position(|minutes| {
            let sums = Sums::of(&minutes.concat());
            sums.calls > 0 && sums.goodput() >= WELL * normal
        })
    }

    /// The seconds in which a retry was granted though the budget's window did not allow it: none,
    /// if the budget keeps its word. A window is the current second and the nine before it, as the
    /// budget moves on by tenths.
    pub(crate) fn overdrafts(&self) -> Vec<usize> {
        (0..self.seconds.len())
            .filter(|&now| {
                let window = Sums::of(&self.seconds[(now + 1).saturating_sub(WINDOW)..=now]);
                self.seconds[now].retries_granted > 0
                    && window.retries_granted > window.first_attempts / u64::from(CALLS_PER_RETRY)
            })
            .collect()
    }
}
