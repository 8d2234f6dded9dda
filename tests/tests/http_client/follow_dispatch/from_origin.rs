//! Bodies of a misbehaving origin, with reqwest and hyper-util, over HTTP/1.1 and HTTP/2.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tower::Layer;
use tower_keep::{
    BoxError, Dispatcher, FailureCause, LogLayer, Rejection, http::ErrorKind, progress::JobState,
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::servers::{LONG, SHORT};

use super::{
    super::{follow::end, origin::clients},
    ONE, assert_idle, state,
};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// R84 Each end of a body of a real server ends the job and frees the permit, with hyper-util.
#[tokio::test]
async fn with_hyper() -> Result<(), BoxError> {
    for version in VERSIONS {
        let page = || Reply::status(200).body("0123456789");
        let origin = Origin::start().await?.script([
            page(),
            page().truncate_after(4),
            page().stall_after(4),
            Reply::status(204),
        ]);
        let recorder = Recorder::new();
        let stack = LogLayer::http_to(recorder.clone()).layer(clients::hyper(version));
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let get = || Request::get(origin.url("/")).body(Full::<bytes::Bytes>::default());

        let handle = jobs.dispatch(get()?);
        let job = handle.id();
        let body = handle.await?.into_body();
        assert_eq!(state(&jobs, job), JobState::Running);
        assert!(jobs.try_dispatch(get()?).is_err(), "one at a time");
        assert_eq!(body.collect().await?.to_bytes(), "0123456789");
        assert_eq!(state(&jobs, job), JobState::Succeeded);
        assert_idle(&jobs);

        let handle = jobs.dispatch(get()?);
        let job = handle.id();
        let error = handle.await?.into_body().collect().await.unwrap_err();
        assert_eq!(ErrorKind::of(&*error), ErrorKind::BodyTruncated);
        assert_eq!(state(&jobs, job), JobState::Failed(FailureCause::Error));
        assert_idle(&jobs);

        let mut handle = jobs.dispatch(get()?);
        let mut body = (&mut handle).await?.into_body();
        body.frame().await.expect("a frame")?;
        let reader = tokio::spawn(body.collect());
        tokio::time::sleep(SHORT).await;
        assert!(handle.cancel());
        let error = timeout(LONG, reader).await??.unwrap_err();
        assert_eq!(Rejection::of(&*error), Some(Rejection::Cancelled));
        assert_idle(&jobs);

        let handle = jobs.dispatch(get()?);
        let job = handle.id();
        let response = handle.await?;
        assert_eq!(state(&jobs, job), JobState::Succeeded);
        assert_idle(&jobs);
        drop(response);
        recorder.assert_one_terminal_each();
        assert_eq!(origin.received().len(), 4);
    }
    Ok(())
}

/// R84 The same with reqwest, whose response stays its own type, with its URL.
#[tokio::test]
async fn with_reqwest() -> Result<(), BoxError> {
    for version in VERSIONS {
        let page = || Reply::status(200).body("0123456789");
        let origin = Origin::start().await?.script([
            page(),
            page().truncate_after(4),
            page().stall_after(4),
            page(),
            Reply::status(204),
        ]);
        let client = clients::reqwest(version);
        let jobs = Dispatcher::new(client.clone()).limit(ONE).http();
        let get = || client.get(origin.url("/page")).build();

        let handle = jobs.dispatch(get()?);
        let job = handle.id();
        let response: reqwest::Response = handle.await?;
        assert_eq!(response.url().as_str(), origin.url("/page"));
        assert_eq!(response.content_length(), Some(10));
        assert_eq!(
            (state(&jobs, job), jobs.in_flight()),
            (JobState::Running, 1)
        );
        assert_eq!(response.text().await?, "0123456789");
        assert_eq!(state(&jobs, job), JobState::Succeeded);
        assert_idle(&jobs);

        let handle = jobs.dispatch(get()?);
        let job = handle.id();
        let error = handle.await?.bytes().await.unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::BodyTruncated);
        assert_eq!(state(&jobs, job), JobState::Failed(FailureCause::Error));
        assert_idle(&jobs);

        let mut response = jobs.dispatch(get()?).await?;
        response.chunk().await?.expect("a frame");
        let reader = tokio::spawn(response.bytes());
        tokio::time::sleep(SHORT).await;
        let report = timeout(LONG, jobs.clone().cancel_handle().shutdown(SHORT)).await?;
        assert_eq!((report.finished, report.cancelled), (0, 1));
        let error = timeout(LONG, reader).await??.unwrap_err();
        assert_eq!(Rejection::of(&error), Some(Rejection::Cancelled));
        assert_idle(&jobs);

        let recorder = Recorder::new();
        let stack = LogLayer::http_to(recorder.clone()).layer(client.clone());
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let response = jobs.dispatch(get()?).await?;
        assert_eq!((end(&recorder), jobs.in_flight()), (None, 1));
        drop(response);
        assert_eq!(end(&recorder), Some(("succeeded".into(), "dropped")));
        assert_idle(&jobs);
        let response = jobs.dispatch(get()?).await?;
        assert_eq!(response.status(), 204);
        assert_idle(&jobs);
    }
    Ok(())
}
