//! What a pipeline accepts.

use tower_keep::{Pipeline, TimeoutLayer};

use super::support::*;

/// Building a pipeline leaves nothing behind in the circuit that its clones share: another one with a longer limit can
/// be built from it.
#[test]
fn a_pipeline_can_be_built_again_with_other_limits() {
    let pipeline = Pipeline::new();
    pipeline.clone().build().unwrap();
    pipeline
        .timeout(TimeoutLayer::new(secs(120)))
        .build()
        .unwrap();
}

/// The overall limit and the one of each attempt in each other's place are refused, and each alone in the wrong place
/// too, by the name of the setting.
#[test]
fn limits_in_the_wrong_place_are_refused() {
    let pipeline = Pipeline::new()
        .timeout(TimeoutLayer::per_attempt(secs(60)))
        .attempt_timeout(TimeoutLayer::new(secs(10)));
    pipeline.build().unwrap_err();
    let error = Pipeline::new()
        .timeout(TimeoutLayer::per_attempt(secs(60)))
        .build()
        .unwrap_err();
    assert_eq!(error.settings(), ("timeout", "attempt_timeout"));
    let error = Pipeline::new()
        .attempt_timeout(TimeoutLayer::new(secs(10)))
        .build()
        .unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
}
