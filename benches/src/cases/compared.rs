//! What is compared with what, and the goals.

/// One of ours and a peer.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The name of ours.
    pub ours: &'static str,
    /// The name of the peer.
    pub peer: &'static str,
    /// The name of the inner service alone, if only what is added to it is compared.
    pub over: Option<&'static str>,
    /// What is to be reached.
    pub goal: Goal,
}

/// At most this, where there is a goal.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Of the peer's time, with an inner service that is ready at once.
    pub ready: Option<f64>,
    /// Of the peer's time, with another that is pending once.
    pub pends: Option<f64>,
    /// Allocations of ours, in either case.
    pub allocations: Option<u32>,
}

impl Goal {
    const NONE: Self = Self {
        ready: None,
        pends: None,
        allocations: None,
    };

    const fn times(ready: f64, pends: f64) -> Self {
        Self {
            ready: Some(ready),
            pends: Some(pends),
            allocations: None,
        }
    }

    const fn ready(ready: f64) -> Self {
        Self {
            ready: Some(ready),
            ..Self::NONE
        }
    }

    const fn allocations(self, most: u32) -> Self {
        Self {
            allocations: Some(most),
            ..self
        }
    }
}

const fn of(ours: &'static str, peer: &'static str, goal: Goal) -> Comparison {
    Comparison {
        ours,
        peer,
        over: None,
        goal,
    }
}

impl Comparison {
    const fn over(self, bare: &'static str) -> Self {
        Self {
            over: Some(bare),
            ..self
        }
    }
}

/// By the names of the cases.
pub const COMPARISONS: &[Comparison] = &[
    of(
        "seven, no key",
        "resilience all four",
        Goal::times(0.50, 0.65).allocations(1),
    ),
    of(
        "seven, join",
        "resilience all four",
        Goal::times(0.75, 0.90).allocations(2),
    ),
    of("seven, reject", "resilience all four", Goal::NONE),
    of("all but dedup", "resilience all four", Goal::NONE),
    of(
        "join + breaker + timeout + retry",
        "resilience all four",
        Goal::times(0.45, 0.60),
    ),
    of(
        "breaker + timeout + retry",
        "resilience breaker + limiter + retry",
        Goal::times(0.25, 0.40),
    ),
    of("timeout", "tower timeout", Goal::times(1.0, 1.05)),
    of("timeout", "resilience time limiter", Goal::NONE),
    of("breaker", "failsafe", Goal::times(1.0, 1.0)),
    of("breaker", "resilience breaker", Goal::NONE),
    of("breaker, count window", "recloser", Goal::times(1.5, 1.5)),
    of("retry", "backon", Goal::times(1.0, 1.0)),
    of("retry", "tower retry", Goal::NONE),
    of("retry", "resilience retry", Goal::NONE),
    of("timeout + retry", "tower timeout + retry", Goal::NONE),
    of(
        "cancel",
        "tokio-util run_until_cancelled",
        Goal::times(1.0, 1.0),
    ),
    of("dispatcher", "tokio::spawn", Goal::times(3.5, 3.5)),
    of(
        "rejection, fail_with",
        "rejection, recloser",
        Goal::ready(1.5).allocations(0),
    ),
    of("rejection, fail_with", "rejection, failsafe", Goal::NONE),
    of("rejection", "rejection, recloser", Goal::NONE),
    of("rejection", "rejection, resilience", Goal::NONE),
    of(
        "rejection, seven, no key",
        "seven, no key",
        Goal::ready(0.9).allocations(2),
    ),
    of(
        "rejection, seven, join",
        "seven, join",
        Goal::ready(0.9).allocations(2),
    ),
    of("dedup, join", "singleflight-async", Goal::ready(1.1)),
    of("dedup, join", "resilience coalesce", Goal::NONE),
    of(
        "dedup, reject",
        "resilience coalesce",
        Goal::times(0.5, 0.5),
    ),
    of(
        "http client",
        "tower-http timeout + trace",
        Goal::times(3.0, 3.0),
    )
    .over("bare http"),
    of(
        "http log + timeout",
        "tower-http timeout + trace",
        Goal::NONE,
    )
    .over("bare http"),
    of("reqwest retry", "reqwest-retry", Goal::times(1.0, 1.0)).over("bare reqwest"),
    of(
        "reqwest retry, JSON",
        "reqwest-retry, JSON",
        Goal::times(1.0, 1.0),
    )
    .over("bare reqwest, JSON"),
    of("reqwest client", "reqwest-retry", Goal::times(1.0, 1.0)).over("bare reqwest"),
    of(
        "reqwest client, JSON",
        "reqwest-retry, JSON",
        Goal::times(1.0, 1.0),
    )
    .over("bare reqwest, JSON"),
    of(
        "reqwest client, send",
        "reqwest-retry, send",
        Goal::times(1.0, 1.0),
    )
    .over("bare reqwest, send"),
    of(
        "reqwest client, send JSON",
        "reqwest-retry, send JSON",
        Goal::times(1.0, 1.0),
    )
    .over("bare reqwest, send JSON"),
    of(
        "reqwest client, one retry",
        "reqwest-retry, one retry",
        Goal::NONE,
    )
    .over("bare reqwest"),
    of(
        "reqwest client, one retry, JSON",
        "reqwest-retry, one retry, JSON",
        Goal::NONE,
    )
    .over("bare reqwest, JSON"),
    of(
        "frame, attempt timeout",
        "frame, tower-http timeout",
        Goal::times(1.0, 1.0).allocations(0),
    )
    .over("frame, bare"),
    of(
        "frame, timeout",
        "frame, tower-http timeout",
        Goal::times(1.0, 1.0).allocations(0),
    )
    .over("frame, bare"),
    of(
        "frame, log",
        "frame, tower-http trace",
        Goal::times(1.0, 1.0).allocations(0),
    )
    .over("frame, bare"),
];
