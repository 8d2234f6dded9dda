//! What a layer adds to a frame of a response body, and the goal.

/// A case, and another that it contains. The difference counts.
#[derive(Clone, Copy, Debug)]
pub struct Added {
    /// The name of the case.
    pub name: &'static str,
    /// The name of the case that it contains.
    pub to: &'static str,
    /// At most this many nanoseconds with an inner body that is ready at once, where there is a goal.
    pub most: Option<f64>,
}

const BARE: &str = "frame, bare";

/// One layer of ours.
const fn layer(name: &'static str) -> Added {
    Added {
        name,
        to: BARE,
        most: Some(50.0),
    }
}

const fn shown(name: &'static str) -> Added {
    Added {
        name,
        to: BARE,
        most: None,
    }
}

/// By the names of the cases.
pub const ADDED: &[Added] = &[
    shown("frame, tower-http timeout"),
    shown("frame, tower-http trace"),
    layer("frame, job"),
    layer("frame, log"),
    layer("frame, progress"),
    layer("frame, cancel"),
    layer("frame, breaker"),
    layer("frame, timeout"),
    layer("frame, attempt timeout"),
    shown("frame, client"),
];
