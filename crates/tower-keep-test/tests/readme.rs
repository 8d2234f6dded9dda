//! The example of the README.

use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep_test::{Scripted, Step, ms, secs};

#[tokio::test(start_paused = true)]
async fn a_slow_service_runs_into_the_limit() {
    let service = Scripted::<&str, u32>::script([
        Step::answer(1).after(ms(999)),
        Step::answer(2).after(secs(2)),
    ]);
    let calls = service.calls();
    let mut service = ServiceBuilder::new()
        .timeout(secs(1))
        .service(service.strict());

    assert_eq!(
        service
            .ready()
            .await
            .unwrap()
            .call("in time")
            .await
            .unwrap(),
        1
    );
    assert!(
        service
            .ready()
            .await
            .unwrap()
            .call("too late")
            .await
            .is_err()
    );

    assert_eq!(calls.count(), 2);
    assert_eq!(calls.dropped(), 1);
    calls.assert_finished();
}
