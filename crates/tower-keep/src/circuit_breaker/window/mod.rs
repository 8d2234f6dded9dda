//! Sliding windows of outcomes, by number of calls or by time.
//!
//! Pure: callers pass the time. Every operation except resizing takes constant time.

use std::time::Duration;

use super::settings::{Window, WindowSize};

/// The outcome of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

impl Sample {
    /// From the lowest two bits.
    fn of_bits(bits: u64) -> Self {
        Self {
            failed: bits & 1 != 0,
            slow: bits & 2 != 0,
        }
    }
}

/// The counts of a window. A call can be both failed and slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

impl Counts {
    fn add(&mut self, sample: Sample) {
        self.add_many(sample, 1);
    }

    fn add_many(&mut self, sample: Sample, times: u64) {
        self.calls += times;
        self.failures += times * u64::from(sample.failed);
        self.slow += times * u64::from(sample.slow);
    }

    fn remove(&mut self, sample: Sample) {
        self.calls -= 1;
        self.failures -= u64::from(sample.failed);
        self.slow -= u64::from(sample.slow);
    }

    fn remove_all(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

/// The outcomes of the last calls, or of the last period.
#[derive(Debug)]
pub(super) enum Outcomes {
    Calls(CallWindow),
    Time(Box<TimeWindow>),
}

impl Outcomes {
    pub(super) fn new(window: Window) -> Self {
        match window.0 {
            WindowSize::Calls(size) => Self::Calls(CallWindow::new(size.get())),
            WindowSize::Time(length) => Self::Time(Box::new(TimeWindow::new(length))),
        }
    }

    pub(super) fn push(&mut self, sample: Sample, now: Duration) {
        match self {
            Self::Calls(window) => window.push(sample),
            Self::Time(window) => window.push(sample, now),
        }
    }

    /// The counts at this time.
    pub(super) fn counts(&mut self, now: Duration) -> Counts {
        match self {
            Self::Calls(window) => window.counts,
            Self::Time(window) => {
                window.advance(now);
                window.counts
            }
        }
    }

    /// Moves the outcomes to a window of another kind or size, as far as they fit.
    pub(super) fn resize(&mut self, window: Window, now: Duration) {
        let mut resized = Self::new(window);
        match self {
            Self::Calls(old) => old.each(|sample| resized.push(sample, now)),
            Self::Time(old) => old.each(now, |sample, times, at| match &mut resized {
                Self::Time(resized) => resized.push_many(sample, times, at),
                // Pushes beyond the size would only replace each other.
                Self::Calls(resized) => {
                    (0..times.min(u64::from(resized.size))).for_each(|_| resized.push(sample))
                }
            }),
        }
        *self = resized;
    }
}

/// The last `size` calls.
#[derive(Debug)]
pub(super) struct CallWindow {
    counts: Counts,
    size: u32,
    /// The index of the next sample. In a full window it holds the oldest sample.
    next: u32,
    /// Two bits per sample.
    samples: Vec<u64>,
}

const SAMPLES_A_WORD: u32 = u64::BITS / 2;

impl CallWindow {
    fn new(size: u32) -> Self {
        Self {
            counts: Counts::default(),
            size,
            next: 0,
            samples: vec![0; size.div_ceil(SAMPLES_A_WORD) as usize],
        }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.counts.calls == u64::from(self.size)
    }

    fn slot(index: u32) -> (usize, u32) {
        (
            (index / SAMPLES_A_WORD) as usize,
            index % SAMPLES_A_WORD * 2,
        )
    }

    fn get(&self, index: u32) -> Sample {
        let (word, shift) = Self::slot(index);
        Sample::of_bits(self.samples[word] >> shift)
    }

    #[inline]
    fn push(&mut self, sample: Sample) {
        let is_full = self.is_full();
        let (word, shift) = Self::slot(self.next);
        let word = &mut self.samples[word];
        if is_full {
            self.counts.remove(Sample::of_bits(*word >> shift));
        }
        self.counts.add(sample);
        let bits = u64::from(sample.failed) | u64::from(sample.slow) << 1;
        *word = *word & !(3 << shift) | bits << shift;
        self.next += 1;
        if self.next == self.size {
            self.next = 0;
        }
    }

    /// Visits the samples, oldest first.
    fn each(&self, mut visit: impl FnMut(Sample)) {
        let oldest = if self.is_full() { self.next } else { 0 };
        for index in (oldest..self.size)
            .chain(0..oldest)
            .take(self.counts.calls as usize)
        {
            visit(self.get(index));
        }
    }
}

/// The number of buckets of a time window.
pub(super) const BUCKETS: usize = 20;

/// The calls of the last period.
#[derive(Debug)]
pub(super) struct TimeWindow {
    /// The sum of all buckets.
    counts: Counts,
    /// Nanoseconds; at least 1.
    width: u128,
    /// The number of the current bucket, counted from time zero.
    current: u128,
    /// A ring: bucket n has the index n modulo the length.
    buckets: [Counts; BUCKETS],
}

impl TimeWindow {
    fn new(length: Duration) -> Self {
        Self {
            counts: Counts::default(),
            width: (length.as_nanos() / BUCKETS as u128).max(1),
            current: 0,
            buckets: [Counts::default(); BUCKETS],
        }
    }

    fn slot(bucket: u128) -> usize {
        (bucket % BUCKETS as u128) as usize
    }

    /// Empties expired buckets. `now` can lie before the current bucket, as threads may read the
    /// clock in one order and arrive here in another. It then counts in the current bucket.
    fn advance(&mut self, now: Duration) {
        let bucket = now.as_nanos() / self.width;
        let passed = bucket.saturating_sub(self.current);
        // After a long idle time each bucket is emptied once.
        for step in 1..=passed.min(BUCKETS as u128) {
            let slot = Self::slot(self.current + step);
            let forgotten = std::mem::take(&mut self.buckets[slot]);
            self.counts.remove_all(forgotten);
        }
        self.current += passed;
    }

    fn push(&mut self, sample: Sample, now: Duration) {
        self.push_many(sample, 1, now);
    }

    fn push_many(&mut self, sample: Sample, times: u64, now: Duration) {
        self.advance(now);
        self.counts.add_many(sample, times);
        self.buckets[Self::slot(self.current)].add_many(sample, times);
    }

    /// Visits the counts by kind, oldest bucket first, with the end of the bucket.
    fn each(&mut self, now: Duration, mut visit: impl FnMut(Sample, u64, Duration)) {
        self.advance(now);
        let oldest = self.current.saturating_sub(BUCKETS as u128 - 1);
        for bucket in oldest..=self.current {
            let counts = self.buckets[Self::slot(bucket)];
            let end = u64::try_from((bucket + 1) * self.width - 1).unwrap_or(u64::MAX);
            let at = Duration::from_nanos(end).min(now);
            // The overlap of failed and slow calls is unknown: assume the largest possible.
            let both = counts.failures.min(counts.slow);
            let neither = counts.calls - counts.failures.max(counts.slow);
            for (failed, slow, times) in [
                (false, false, neither),
                (true, false, counts.failures - both),
                (false, true, counts.slow - both),
                (true, true, both),
            ] {
                visit(Sample { failed, slow }, times, at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
