//! Random numbers from a seed and a call number only, so that a call's fault does not depend on
//! earlier calls.

/// The purpose of a random number.
#[derive(Clone, Copy)]
pub(super) enum Draw {
    Call = 1,
    Readiness = 2,
    CallDelay = 3,
    ReadinessDelay = 4,
}

/// SplitMix64's output function over the seed, the purpose and the number.
pub(super) fn draw(seed: u64, what: Draw, number: usize) -> u64 {
    let stream = mix(seed ^ mix(what as u64));
    mix(stream.wrapping_add((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The same as a number from 0 up to 1.
pub(super) fn share(drawn: u64) -> f64 {
    // As many bits as an `f64` holds exactly.
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}
