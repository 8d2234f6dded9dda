//! A dispatcher with `http()` around other layers, and its other settings.

use http::{Request, Response};
use http_body_util::Full;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneSyncService, MapResponseLayer},
};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Dispatcher, JobLayer, LogLayer, Pipeline,
    ProgressLayer, RetryLayer, TimeoutLayer,
    dispatch::{HttpDispatcher, JobError},
    find,
    job::Elapsed,
    progress::JobState,
};
use tower_keep_test::{Recorder, secs};

use super::{
    super::{
        follow::{
            Step::{Data, Error, Pends},
            Steps, end, get, poll,
        },
        follow_cancel::{Alive, cancelled},
    },
    ONE, assert_idle, client, page, read, state,
};

/// R84 Around the pipeline for clients, and around each layer that follows the body: the dispatcher
/// ends the job, once, and a cancellation reaches the body.
#[tokio::test(start_paused = true)]
async fn around_each_layer() {
    macro_rules! check {
        ($($layer:expr),+) => {
            for cancels in [false, true] {
                let recorder = Recorder::new();
                let alive = Alive::default();
                let stack = ServiceBuilder::new()
                    .layer(LogLayer::http_to(recorder.clone()))
                    $(.layer($layer))+
                    .service(page(alive.body(2)));
                let jobs = Dispatcher::new(stack).limit(ONE).http();
                let mut handle = jobs.dispatch(get());
                let job = handle.id();
                let mut body = (&mut handle).await.unwrap().into_body();
                assert!(poll(&mut body).is_ready());
                assert_eq!((end(&recorder), jobs.in_flight()), (None, 1));
                if cancels {
                    assert!(handle.cancel_because("enough"));
                    assert_idle(&jobs);
                    assert_eq!(cancelled(poll(&mut body)), "enough");
                    assert_eq!(end(&recorder).unwrap().0, "cancelled: enough");
                } else {
                    drop(body);
                    assert_eq!(end(&recorder), Some(("succeeded".into(), "dropped")));
                    assert_eq!(state(&jobs, job), JobState::Succeeded);
                }
                assert_eq!(alive.count(), 0);
                recorder.assert_one_terminal_each();
                assert_idle(&jobs);
            }
        };
    }
    check!(JobLayer::new("page").http());
    check!(ProgressLayer::http());
    check!(CancelLayer::http());
    check!(CircuitBreakerLayer::http());
    check!(
        TimeoutLayer::http(secs(60)),
        TimeoutLayer::http_attempt(secs(10))
    );
    check!(RetryLayer::http());
    // Layers that do not follow the body.
    check!(
        ProgressLayer::new(),
        CancelLayer::new(),
        TimeoutLayer::new(secs(60))
    );
    check!(
        ProgressLayer::http(),
        CancelLayer::http(),
        CircuitBreakerLayer::http(),
        TimeoutLayer::http(secs(60)),
        RetryLayer::http(),
        TimeoutLayer::http_attempt(secs(10))
    );
}

/// R84 Around the pipeline for clients: retries, then the body, which the overall limit ends.
#[tokio::test(start_paused = true)]
async fn around_the_pipeline() -> Result<(), BoxError> {
    let recorder = Recorder::new();
    let pipeline = Pipeline::http_client()
        .log(LogLayer::http_to(recorder.clone()))
        .build()?;
    let (alive, busy) = (Alive::default(), Alive::default());
    let busy = Response::builder().status(503).body(busy.body(0))?;
    let stack = pipeline.layer(client([busy, Response::new(alive.body(2))]));
    let jobs = Dispatcher::new(stack).limit(ONE).http();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    let response = handle.await?;
    assert_eq!(response.status(), 200);
    assert!(recorder.names().contains(&"retrying"));
    assert_eq!(
        (state(&jobs, job), jobs.in_flight()),
        (JobState::Running, 1)
    );
    let error = read(response.into_body()).await.unwrap_err();
    assert!(find::<Elapsed>(&*error).is_some());
    assert_eq!(end(&recorder).unwrap().1, "stalled");
    assert!(matches!(state(&jobs, job), JobState::Failed(_)));
    assert_eq!(alive.count(), 0);
    assert_idle(&jobs);
    Ok(())
}

/// R84 A response or an error that the dispatcher makes itself ends its job at once, and is what the
/// user made of it.
#[tokio::test(start_paused = true)]
async fn answers_of_the_dispatcher() -> Result<(), BoxError> {
    let silent = || client::<Full<bytes::Bytes>>([]);
    let jobs = Dispatcher::new(silent())
        .limit(ONE)
        .http()
        .respond_with(|why: JobError| Response::new(Full::from(why.to_string())));
    let running = jobs.dispatch(get());
    let full = jobs.dispatch(get()).await?;
    let text = "job limit reached: 1 dispatched jobs are in flight";
    assert_eq!(read(full.into_body()).await?, text);
    assert_eq!(jobs.in_flight(), 1);
    assert!(running.cancel());
    let answer = running.await?;
    assert_eq!(jobs.in_flight(), 0, "an answer is no body of the job");
    assert_eq!(read(answer.into_body()).await?, "job cancelled: requested");
    assert_idle(&jobs);

    let jobs = Dispatcher::new(silent()).http().fail_with(|why| match why {
        JobError::Cancelled(_) => BoxError::from("gave up"),
        _ => "broken".into(),
    });
    let running = jobs.dispatch(get());
    assert!(running.cancel());
    assert_eq!(running.await.err().unwrap().to_string(), "gave up");
    Ok(())
}

/// R84 A response that a layer of the stack made ends its job at the head.
#[tokio::test(start_paused = true)]
async fn an_answer_of_the_stack() -> Result<(), BoxError> {
    let answers = TimeoutLayer::http(secs(1))
        .respond_with(|_: Elapsed| Response::new(Full::<bytes::Bytes>::from("too slow")));
    let jobs = Dispatcher::new(answers.layer(client([]))).limit(ONE).http();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    let response = handle.await?;
    assert!(matches!(state(&jobs, job), JobState::Failed(_)));
    assert_idle(&jobs);
    assert_eq!(read(response.into_body()).await?, "too slow");
    Ok(())
}

/// R84 The type has a name, for a struct, and the setters come in any order.
#[tokio::test(start_paused = true)]
async fn in_a_struct() -> Result<(), BoxError> {
    type Stack = BoxCloneSyncService<Request<String>, Response<Full<bytes::Bytes>>, BoxError>;
    #[derive(Clone)]
    struct Mirror {
        pages: HttpDispatcher<Stack>,
    }
    let stack = service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(Response::new(Full::from("a page")))
    });
    let pages = Dispatcher::new(BoxCloneSyncService::new(stack))
        .named("page")
        .http()
        .limit(ONE)
        .grace(secs(1))
        .history(7)
        .on(tokio::runtime::Handle::current());
    let mirror = Mirror { pages };
    for _ in 0..3 {
        let mut pages = mirror.clone().pages;
        let handle = pages.ready().await?.call(get()).await?;
        assert_eq!(handle.name(), "page");
        assert_eq!(mirror.pages.available(), Some(0));
        assert_eq!(read(handle.await?.into_body()).await?, "a page");
        assert_idle(&mirror.pages);
    }
    assert_eq!(mirror.pages.progress_handle().history().len(), 3);
    Ok(())
}

/// R84 Layers around the dispatcher, and layers that change the body, compose with it.
#[tokio::test(start_paused = true)]
async fn foreign_layers() -> Result<(), BoxError> {
    let boxes = MapResponseLayer::new(|response: Response<Steps>| {
        response.map(http_body_util::BodyExt::boxed_unsync)
    });
    let body = Steps::new([Data("a "), Error(std::io::ErrorKind::ConnectionReset)]);
    let stack = ServiceBuilder::new().layer(boxes).service(page(body));
    let jobs = Dispatcher::new(stack).limit(ONE).http();
    let mut service = ServiceBuilder::new()
        .map_request(|(): ()| get())
        .service(jobs.clone());
    let handle = service.ready().await?.call(()).await?;
    let job = handle.id();
    let error = read(handle.await?.into_body()).await.unwrap_err();
    assert_eq!(error.to_string(), "connection reset");
    assert!(matches!(state(&jobs, job), JobState::Failed(_)));
    assert_idle(&jobs);
    Ok(())
}

/// R84 The limit for an idle body inside the dispatched stack, and the reader that does not poll.
#[tokio::test(start_paused = true)]
async fn limits_of_the_stack() -> Result<(), BoxError> {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .service(page(Steps::new([Data("a "), Pends, Pends, Pends])));
    let jobs = Dispatcher::new(stack).limit(ONE).http();
    let mut body = jobs.dispatch(get()).await?.into_body();
    assert!(poll(&mut body).is_ready());
    // Idle time counts only while the reader waits for the server.
    tokio::time::sleep(secs(60)).await;
    assert!(poll(&mut body).is_pending());
    tokio::time::sleep(secs(11)).await;
    let error = read(body).await.unwrap_err();
    assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), secs(10));
    assert_eq!(end(&recorder).unwrap().1, "stalled");
    assert_idle(&jobs);
    Ok(())
}
