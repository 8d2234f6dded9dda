//! Chance that is the same each time.

use std::time::Duration;

use fastrand::Rng;

/// Who throws the dice. Each has generators of its own, so that what one policy does to the order
/// of events changes nothing about who the clients are.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Thrower {
    Client = 1,
    Backend = 2,
    Retry = 3,
    Circuit = 4,
}

/// A seed for the nth of its kind.
pub(crate) fn seed(seed: u64, thrower: Thrower, n: u32) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let mut rng = Rng::with_seed(rng.u64(..) ^ ((thrower as u64) << 32 | u64::from(n)));
    rng.u64(..)
}

/// This long, give or take up to this share of it.
pub(crate) fn about(mean: Duration, share: f64, rng: &mut Rng) -> Duration {
    mean.mul_f64(1.0 - share + 2.0 * share * rng.f64())
}

/// Anything between the two.
pub(crate) fn between(least: Duration, most: Duration, rng: &mut Rng) -> Duration {
    least + (most - least).mul_f64(rng.f64())
}
