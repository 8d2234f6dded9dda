//! How to test a stack: the real layers around a scripted service, on a clock that does not wait.
//! Run its test: `cargo test --example testing`

use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, LogLayer, Observer, RetryLayer, TimeoutLayer};

/// Takes the service and where the events go, so that a test can give its own.
fn defend<S>(
    service: S,
    log: impl Observer + 'static,
) -> impl Service<u32, Response = String, Error = BoxError>
where
    S: Service<u32, Response = String, Error = BoxError> + Clone,
{
    ServiceBuilder::new()
        .layer(LogLayer::to(log))
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
        .service(service)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let load = service_fn(async |user: u32| Ok::<_, BoxError>(format!("user {user}")));
    let log = |event: &tower_keep::Event| println!("{}", event.kind.name());
    assert_eq!(defend(load, log).oneshot(7).await?, "user 7");
    Ok(())
}

#[cfg(test)]
mod tests {
    use tower_keep_test::{Recorder, Scripted, secs};

    #[tokio::test(start_paused = true)]
    async fn a_hang_and_an_error_are_retried() {
        let service = Scripted::new()
            .never()
            .error("busy".into())
            .answer("user 7".to_owned());
        let (calls, events) = (service.calls(), Recorder::new());
        let stack = super::defend(service.strict(), events.clone());

        assert_eq!(
            super::ServiceExt::oneshot(stack, 7).await.unwrap(),
            "user 7"
        );
        // The hang ends after 10 s; the waits before the next attempts are 1 and 2 s.
        assert_eq!(calls.started_at(), [secs(0), secs(11), secs(13)]);
        assert_eq!(calls.dropped(), 1);
        assert_eq!(events.count("retry_scheduled"), 2);
    }
}
