//! What a pipeline accepts.

use tower_keep::{CircuitBreakerLayer, Pipeline, TimeoutLayer};
use tower_keep_tests::*;

/// Building a pipeline leaves nothing behind in the circuit that its clones share: another one with
/// a longer limit can be built from it.
#[test]
fn a_pipeline_can_be_built_again_with_other_limits() {
    let pipeline = Pipeline::new();
    pipeline.clone().build().unwrap();
    pipeline
        .timeout(TimeoutLayer::new(secs(120)))
        .build()
        .unwrap();
}

/// The overall limit and the one of each attempt in each other's place are refused, and each alone
/// in the wrong place too, by the name of the setting.
#[test]
fn limits_in_the_wrong_place_are_refused() {
    let pipeline = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(60)).per_attempt())
        .attempt_timeout(TimeoutLayer::new(secs(10)));
    pipeline.build().unwrap_err();
    let error = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(60)).per_attempt())
        .build()
        .unwrap_err();
    assert_eq!(error.settings(), ("timeout", "attempt_timeout"));
    let error = Pipeline::new()
        .attempt_timeout(TimeoutLayer::new(secs(10)))
        .build()
        .unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
}

/// An idle limit where the other one expires first, and a grace period for which the overall limit
/// leaves no time, are refused; each is fine where it can be used.
#[test]
fn limits_that_could_never_expire_are_refused() {
    let attempt = ("attempt_timeout", "timeout");
    let overall = ("timeout", "attempt_timeout");
    let pipeline = || Pipeline::new().timeout(TimeoutLayer::new(secs(60)));

    for (seconds, refused) in [(60, false), (61, true)] {
        let built = pipeline()
            .attempt_timeout(TimeoutLayer::new(secs(seconds)).per_attempt().idle())
            .build();
        assert_eq!(
            built.err().map(|error| error.settings()),
            refused.then_some(attempt)
        );
    }
    for (seconds, refused) in [(10, false), (11, true)] {
        let built = Pipeline::new()
            .timeout(TimeoutLayer::new(secs(seconds)).idle())
            .attempt_timeout(TimeoutLayer::new(secs(10)).per_attempt())
            .build();
        assert_eq!(
            built.err().map(|error| error.settings()),
            refused.then_some(overall)
        );
        let built = Pipeline::new()
            .timeout(TimeoutLayer::new(secs(10)).idle())
            .attempt_timeout(TimeoutLayer::new(secs(seconds)).per_attempt().idle())
            .build();
        assert_eq!(
            built.err().map(|error| error.settings()),
            refused.then_some(attempt)
        );
    }
    for (grace, refused) in [(50, false), (51, true)] {
        let built = pipeline()
            .attempt_timeout(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(grace)))
            .build();
        assert_eq!(
            built.err().map(|error| error.settings()),
            refused.then_some(attempt)
        );
    }
    // The waits need not fit into a time without progress.
    let pipeline = Pipeline::new().timeout(TimeoutLayer::new(secs(2)).idle());
    pipeline.build().unwrap();
    let error = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(60)).per_attempt().grace(secs(1)))
        .build()
        .unwrap_err();
    assert_eq!(error.settings(), overall);
}

/// A probe is in flight until the grace period is over.
#[test]
fn a_probe_timeout_leaves_time_for_the_grace() {
    for (probe, fits) in [(64, false), (65, true)] {
        let circuit = CircuitBreakerLayer::new().probe_timeout(secs(probe));
        let built = Pipeline::new()
            .circuit_breaker(circuit)
            .timeout(TimeoutLayer::new(secs(60)).grace(secs(5)))
            .build();
        assert_eq!(built.is_ok(), fits);
    }
}
