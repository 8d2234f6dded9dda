//! `State`, and the packed word that holds a circuit's lock-free state. Pure.

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Admits calls and counts their outcomes.
    Closed,
    /// Rejects calls.
    Open,
    /// Admits a few probes to test whether the service has recovered.
    HalfOpen,
}

/// From the top: 32 bits of failures in a row, the generation, the flags, and two bits of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedState(pub(super) u64);

/// Calls are timed, to find slow calls.
pub(super) const TIMED: u64 = 1 << 2;
/// Calls in flight are counted.
pub(super) const TRACKED: u64 = 1 << 3;
/// Outcomes are counted in a window.
pub(super) const WINDOWED: u64 = 1 << 4;
/// The closed circuit admits only a share of the calls.
pub(super) const RAMPING: u64 = 1 << 5;
/// The window depends on the time when a call ends.
pub(super) const DATED: u64 = 1 << 6;
/// The circuit admits all calls in every state.
pub(super) const OBSERVING: u64 = 1 << 7;

const FLAGS: u64 = TIMED | TRACKED | WINDOWED | RAMPING | DATED | OBSERVING;
const GENERATION_SHIFT: u32 = 8;
const GENERATION_MASK: u32 = (1 << (32 - GENERATION_SHIFT)) - 1;

/// The generation after this one. It wraps around.
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1) & GENERATION_MASK
}

impl PackedState {
    pub(super) fn new(state: State, generation: u32, failures: u32, flags: u64) -> Self {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        let generation = u64::from(generation & GENERATION_MASK) << GENERATION_SHIFT;
        Self(u64::from(failures) << 32 | generation | flags & FLAGS | state)
    }

    #[inline(always)]
    pub(super) fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    #[inline(always)]
    pub(super) fn generation(self) -> u32 {
        (self.0 as u32) >> GENERATION_SHIFT
    }

    #[inline(always)]
    pub(super) fn failures(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(super) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    pub(super) fn flags(self) -> u64 {
        self.0 & FLAGS
    }

    /// Replaces the failures.
    pub(super) fn with_failures(self, failures: u32) -> Self {
        Self(u64::from(failures) << 32 | self.0 & u64::from(u32::MAX))
    }

    /// Replaces the flags.
    pub(super) fn with_flags(self, flags: u64) -> Self {
        Self(self.0 & !FLAGS | flags & FLAGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_packed() {
        // The rest of the lower half, after two bits of state and six flags.
        assert_eq!(GENERATION_MASK, (1 << 24) - 1);
        for state in [State::Closed, State::Open, State::HalfOpen] {
            for generation in [0, 1, GENERATION_MASK] {
                for failures in [0, 1, u32::MAX] {
                    for flags in [0, TIMED, TRACKED | WINDOWED, RAMPING | DATED, FLAGS] {
                        let word = PackedState::new(state, generation, failures, flags);
                        assert_eq!(word.state(), state);
                        assert_eq!(word.generation(), generation);
                        assert_eq!(word.failures(), failures);
                        assert_eq!(word.flags(), flags);
                        assert_eq!(
                            word.with_failures(7),
                            PackedState::new(state, generation, 7, flags)
                        );
                        assert_eq!(
                            word.with_flags(WINDOWED),
                            PackedState::new(state, generation, failures, WINDOWED)
                        );
                    }
                }
            }
        }
        // The generation wraps around and does not overflow into other bits.
        let word = PackedState::new(State::Open, GENERATION_MASK + 1, 0, 0);
        assert_eq!(word, PackedState::new(State::Open, 0, 0, 0));
    }
}
