//! The handle, dropped or kept at each stage.

use std::task::Poll;

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, Service, service_fn};
use tower_keep::{BoxError, CancelReason, Dispatcher, LogLayer, progress::JobState};
use tower_keep_test::{Recorder, secs};

use super::{
    super::{
        follow::{end, get, poll},
        follow_cancel::{Alive, Endless, cancelled},
    },
    ONE, assert_idle, client, state,
};

/// A client whose heads come after a second.
fn slow(
    alive: &Alive,
    calls: usize,
) -> impl Service<
    Request<String>,
    Response = Response<Endless>,
    Error = BoxError,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let inner = client((0..calls).map(|_| Response::new(alive.body(2))));
    service_fn(move |request: Request<String>| {
        let call = inner.clone().call(request);
        async move {
            sleep(secs(1)).await;
            call.await
        }
    })
}

/// R84 A handle that is dropped before the head lets the job go on. Its response is dropped when it
/// arrives, and the job ends as succeeded.
#[tokio::test(start_paused = true)]
async fn dropped_before_the_head() {
    let (alive, recorder) = (Alive::default(), Recorder::new());
    let stack = LogLayer::http_to(recorder.clone()).layer(slow(&alive, 1));
    let jobs = Dispatcher::new(stack).limit(ONE).http();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    drop(handle);
    sleep(secs(1) / 2).await;
    assert_eq!(
        (state(&jobs, job), jobs.in_flight()),
        (JobState::Running, 1)
    );
    assert_eq!(alive.count(), 1);
    sleep(secs(1)).await;
    assert_eq!(end(&recorder), Some(("succeeded".into(), "dropped")));
    assert_eq!(state(&jobs, job), JobState::Succeeded);
    assert_eq!(alive.count(), 0);
    assert_idle(&jobs);
}

/// R84 A handle that is dropped with its response drops the body.
#[tokio::test(start_paused = true)]
async fn dropped_with_the_response() {
    let (alive, recorder) = (Alive::default(), Recorder::new());
    let stack = LogLayer::http_to(recorder.clone()).layer(slow(&alive, 1));
    let jobs = Dispatcher::new(stack).limit(ONE).http();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    sleep(secs(60)).await;
    assert!(handle.is_finished());
    assert_eq!(
        (state(&jobs, job), jobs.in_flight()),
        (JobState::Running, 1)
    );
    drop(handle);
    assert_eq!(end(&recorder), Some(("succeeded".into(), "dropped")));
    assert_eq!(alive.count(), 0);
    assert_idle(&jobs);
}

/// R84 Once the handle gave the response, dropping it does nothing: the body belongs to its reader.
#[tokio::test(start_paused = true)]
async fn dropped_after_the_response() {
    for cancels in [false, true] {
        let alive = Alive::default();
        let jobs = Dispatcher::new(slow(&alive, 2)).limit(ONE).http();
        let mut handle = jobs.dispatch(get());
        if cancels {
            handle = handle.cancel_on_drop();
        }
        let job = handle.id();
        let mut body = (&mut handle).await.unwrap().into_body();
        drop(handle);
        assert_eq!(state(&jobs, job), JobState::Running);
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
        drop(body);
        assert_eq!(state(&jobs, job), JobState::Succeeded);
        assert_idle(&jobs);

        // The usual way.
        let mut handle = jobs.dispatch(get());
        if cancels {
            handle = handle.cancel_on_drop();
        }
        let mut body = handle.await.unwrap().into_body();
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
        assert_eq!(jobs.in_flight(), 1);
    }
}

/// R84 A handle with `cancel_on_drop` cancels the job until it gave the response.
#[tokio::test(start_paused = true)]
async fn cancel_on_drop() {
    for with_response in [false, true] {
        let (alive, recorder) = (Alive::default(), Recorder::new());
        let stack = LogLayer::http_to(recorder.clone()).layer(slow(&alive, 1));
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let handle = jobs.dispatch(get()).cancel_on_drop();
        let job = handle.id();
        let pause = if with_response { secs(60) } else { secs(1) / 2 };
        sleep(pause).await;
        assert_eq!(handle.is_finished(), with_response);
        drop(handle);
        tokio::task::yield_now().await;
        let gone = JobState::Cancelled(CancelReason::CallerGone);
        assert_eq!(state(&jobs, job), gone);
        assert_eq!(alive.count(), 0);
        recorder.assert_one_terminal_each();
        assert_idle(&jobs);
    }
}

/// R84 A handle still watches and cancels the job of a body that is read elsewhere.
#[tokio::test(start_paused = true)]
async fn the_handle_stays_useful() {
    let alive = Alive::default();
    let jobs = Dispatcher::new(slow(&alive, 1)).named("page").http();
    let mut handle = jobs.dispatch(get());
    let mut body = (&mut handle).await.unwrap().into_body();
    let mut watch = handle.progress();
    assert_eq!(watch.latest().state, JobState::Running);
    assert_eq!(handle.name(), "page");
    assert!(handle.cancel_because("enough"));
    assert_eq!(cancelled(poll(&mut body)), "enough");
    let ended = watch.ended().await;
    assert_eq!(ended.state, JobState::Cancelled("enough".into()));
}
