//! The plan of a fault layer: its settings, and the fault of each call.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    chance::{Draw, draw, share},
    kind::Fault,
};

/// The settings of a layer.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// The chance of each fault. Call faults and readiness faults add up to at most 1 each.
    chances: Vec<(Fault, f64)>,
    /// The fault of each call, instead of random faults.
    pub(super) calls: Option<Vec<Option<Fault>>>,
    /// The fault of each wait for readiness, instead of random faults.
    pub(super) readiness: Option<Vec<Option<Fault>>>,
    pub(super) delays: RangeInclusive<Duration>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            chances: Vec::new(),
            calls: None,
            readiness: None,
            delays: Duration::from_millis(1)..=Duration::from_secs(1),
        }
    }

    #[track_caller]
    pub(super) fn set(&mut self, fault: Fault, chance: f64) {
        assert!(
            (0.0..=1.0).contains(&chance),
            "invalid chance {chance}: it must be within 0 to 1"
        );
        self.chances.retain(|(known, _)| *known != fault);
        self.chances.push((fault, chance));
        // The fault of a random number must not depend on the order of settings.
        self.chances.sort_by_key(|(fault, _)| *fault);
        let same = |(known, _): &&(Fault, f64)| known.is_of_readiness() == fault.is_of_readiness();
        let sum: f64 = self
            .chances
            .iter()
            .filter(same)
            .map(|(_, chance)| chance)
            .sum();
        // The sum of ten tenths is not exact.
        assert!(
            sum <= 1.0 + 1e-9,
            "the chances add up to {sum}: at most 1 is possible"
        );
    }

    pub(super) fn of_call(&self, number: usize) -> Option<Fault> {
        match &self.calls {
            Some(script) => script.get(number).copied().flatten(),
            None => self.by_chance(false, draw(self.seed, Draw::Call, number)),
        }
    }

    pub(super) fn of_readiness(&self, number: usize) -> Option<Fault> {
        match &self.readiness {
            Some(script) => script.get(number).copied().flatten(),
            None => self.by_chance(true, draw(self.seed, Draw::Readiness, number)),
        }
    }

    fn by_chance(&self, of_readiness: bool, drawn: u64) -> Option<Fault> {
        let mut left = share(drawn);
        let chances = self.chances.iter();
        for (fault, chance) in chances.filter(|(fault, _)| fault.is_of_readiness() == of_readiness)
        {
            if left < *chance {
                return Some(*fault);
            }
            left -= chance;
        }
        None
    }

    pub(super) fn delay(&self, what: Draw, number: usize) -> Duration {
        let (least, most) = (*self.delays.start(), *self.delays.end());
        let more = most.saturating_sub(least);
        least + more.mul_f64(share(draw(self.seed, what, number)))
    }
}
