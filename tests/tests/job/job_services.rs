//! The services inside JobLayer, Log, Progress and a dispatcher: looked at, changed and given back.

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, Dispatcher, JobLayer, LogLayer, ProgressLayer, find, progress::JobState,
    reject::Rejected,
};

use tower_keep_tests::*;

/// Adds a number, and counts its calls.
#[derive(Clone, Debug, PartialEq)]
struct Adds {
    number: u32,
    calls: u32,
}

const ADDS: Adds = Adds {
    number: 1,
    calls: 0,
};

impl Service<u32> for Adds {
    type Response = u32;
    type Error = BoxError;
    type Future = std::future::Ready<Result<u32, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u32) -> Self::Future {
        self.calls += 1;
        std::future::ready(Ok(n + self.number))
    }
}

/// R61 The service inside a layer's service can be changed between calls, and has its own state
/// when it is given back.
#[tokio::test(start_paused = true)]
async fn the_service_inside_is_within_reach() {
    macro_rules! check {
        ($layer:expr) => {{
            let mut service = $layer.layer(ADDS);
            assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 2);
            assert_eq!(service.get_ref().calls, 1);
            service.get_mut().number = 10;
            assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 11);
            let inner = service.into_inner();
            assert_eq!((inner.number, inner.calls), (10, 2));
        }};
    }

    check!(JobLayer::new("add"));
    check!(JobLayer::named_by(|n: &u32| n.to_string()).identified_by(|_: &u32| Some("add")));
    check!(LogLayer::new());
    check!(recording().0.level(tower_keep::log::Level::INFO));
    let progress = ProgressLayer::new();
    let board = progress.handle();
    check!(progress);
    // The layer's own state stays where it was.
    let ended = board.history();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|view| view.state == JobState::Succeeded));
}

/// R61 A dispatcher's stack too: a change counts for the jobs that come after it, and jobs that run
/// go on without it.
#[tokio::test(start_paused = true)]
async fn the_stack_of_a_dispatcher_is_within_reach() {
    let mut jobs = Dispatcher::new(ADDS);
    let handle = jobs.progress_handle();
    let early = jobs.dispatch(1);
    jobs.get_mut().number = 10;
    let late = jobs.dispatch(1);
    assert_eq!(jobs.get_ref().number, 10);
    // Each job calls a clone.
    let stack = jobs.into_inner();
    assert_eq!((stack.number, stack.calls), (10, 0));
    assert_eq!((early.await.unwrap(), late.await.unwrap()), (2, 11));
    assert_eq!(handle.history().len(), 2);
}

/// R79 A gate's own reason is found by its type and read once, whether it is an error or a text.
#[tokio::test(start_paused = true)]
async fn a_gates_reason_has_its_type() {
    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("no room for {0}")]
    struct NoRoom(u32);

    let error: BoxError = Rejected::new(NoRoom(7)).into();
    assert_eq!(find::<NoRoom>(&*error), Some(&NoRoom(7)));
    let rejected = find::<Rejected>(&*error).unwrap();
    assert_eq!(rejected.reason().downcast_ref(), Some(&NoRoom(7)));
    assert_eq!(tower_keep::describe_error(&*error), "no room for 7");
    assert_eq!(error.to_string(), "no room for 7");
    assert_eq!(rejected.clone().to_string(), "no room for 7");

    for text in [Rejected::new("full"), Rejected::new("full".to_owned())] {
        assert_eq!(tower_keep::describe_error(&text), "full");
    }
}
