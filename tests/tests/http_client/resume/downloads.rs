//! Downloads from a server on a socket, with reqwest and hyper-util, over HTTP/1.1 and HTTP/2.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, Pipeline, ProgressLayer, Report, ResumeLayer, RetryLayer, SendThrough, TimeoutLayer,
    find,
    http::resume::{NotResumed, NotResumedReason},
};
use tower_keep_test::secs;

use super::{
    super::origin::clients,
    file_server::{Checker, Content, FileServer, Ranges},
};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];
const MIB: u64 = 1 << 20;

/// Ten places to cut at.
fn cuts(length: u64, seed: u64) -> Vec<u64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..10).map(|_| rng.u64(1..length)).collect()
}

/// Reads with reqwest: the number of bytes, or the error.
async fn with_reqwest<S>(
    api: &S,
    version: Version,
    server: &FileServer,
    content: &Content,
) -> (u64, Result<(), BoxError>)
where
    S: Service<reqwest::Request, Response = reqwest::Response, Error = BoxError>
        + Clone
        + Send
        + Sync,
{
    let client = clients::reqwest(version);
    let mut response = client.get(server.url()).send_through(api).await.unwrap();
    assert_eq!(response.content_length(), Some(content.length));
    assert_eq!(response.url().as_str(), server.url());
    let mut checker = Checker::new(content.clone());
    loop {
        match response.chunk().await {
            Ok(Some(data)) => checker.check(&data),
            Ok(None) => return (checker.read, Ok(())),
            Err(error) => return (checker.read, Err(error.into())),
        }
    }
}

/// Reads with hyper-util.
async fn with_hyper(
    version: Version,
    server: &FileServer,
    content: &Content,
) -> (u64, Result<(), BoxError>) {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::http(secs(100)))
        .layer(RetryLayer::http().resume())
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .service(clients::hyper(version));
    let request = Request::get(server.url()).body(Full::default()).unwrap();
    let mut body = stack.oneshot(request).await.unwrap().into_body();
    let mut checker = Checker::new(content.clone());
    loop {
        match body.frame().await {
            Some(Ok(frame)) => checker.check(frame.data_ref().unwrap()),
            None => return (checker.read, Ok(())),
            Some(Err(error)) => return (checker.read, Err(error)),
        }
    }
}

/// R86 A download of 256 MiB that is cut at ten places arrives complete, and less than 1.1 times its
/// bytes are sent. Each byte is compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_arrives_complete() {
    let content = Content::new(256 * MIB, 86);
    let limit = content.length + content.length / 10;
    for (seed, version) in (1..).zip(VERSIONS) {
        let server =
            FileServer::start(content.clone(), cuts(content.length, seed), Ranges::Serves).await;
        let progress = ProgressLayer::http();
        let board = progress.handle();
        let api = Pipeline::http_client()
            .progress(progress)
            .retry(RetryLayer::http().resume())
            .build()
            .unwrap()
            .layer(clients::reqwest(version));
        let (read, result) = with_reqwest(&api, version, &server, &content).await;
        result.unwrap();
        assert_eq!(read, content.length);
        assert_eq!(server.requests(), 11);
        assert!(
            server.sent() < limit,
            "{} of {}",
            server.sent(),
            content.length
        );
        let [job] = &board.history()[..] else {
            panic!("one job")
        };
        assert_eq!(
            job.report,
            Report::bytes(content.length, Some(content.length))
        );
        assert_eq!(job.attempt, 11);
    }
}

/// R86 The same with hyper-util's client, and a smaller file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_with_hyper() {
    let content = Content::new(32 * MIB + 5, 87);
    for (seed, version) in (3..).zip(VERSIONS) {
        let server =
            FileServer::start(content.clone(), cuts(content.length, seed), Ranges::Serves).await;
        let (read, result) = with_hyper(version, &server, &content).await;
        result.unwrap();
        assert_eq!((read, server.requests()), (content.length, 11));
    }
}

/// R86 A changed entity tag, a wrong range, a 200, a 416 and an encoded body: the reader gets the
/// beginning and an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_that_are_not_resumed() {
    let content = Content::new(MIB, 88);
    let changed = Some(NotResumedReason::Changed);
    for (ranges, expected) in [
        (Ranges::Changed, changed),
        (Ranges::Wrong, Some(NotResumedReason::WrongRange)),
        (Ranges::Ignores, Some(NotResumedReason::RangeIgnored)),
        (
            Ranges::Unsatisfiable,
            Some(NotResumedReason::Status(
                http::StatusCode::RANGE_NOT_SATISFIABLE,
            )),
        ),
        (Ranges::Encoded, None),
    ] {
        for version in VERSIONS {
            for is_hyper in [false, true] {
                let server = FileServer::start(content.clone(), vec![600_000], ranges).await;
                let (read, result) = match is_hyper {
                    true => with_hyper(version, &server, &content).await,
                    false => {
                        let api = ResumeLayer::new()
                            .layer(clients::reqwest(version).map_err(BoxError::from));
                        with_reqwest(&api, version, &server, &content).await
                    }
                };
                assert!((1..=600_000).contains(&read), "{read}");
                let error = result.unwrap_err();
                let error = find::<NotResumed>(&*error);
                assert_eq!(
                    error.map(NotResumed::reason),
                    expected,
                    "{ranges:?} {version:?}"
                );
                let requests = if expected.is_some() { 2 } else { 1 };
                assert_eq!(server.requests(), requests, "{ranges:?} {version:?}");
                if let Some(error) = error {
                    assert_eq!(error.delivered(), read);
                }
            }
        }
    }
}
