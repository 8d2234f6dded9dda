//! A large upload: its progress in steps, and its memory.

use std::{convert::Infallible, future::Future, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, Pipeline, ProgressLayer, Report, RetryLayer, SendThrough,
    http::upload::UploadBody,
    progress::{Changes, JobState},
};
use tower_keep_tests::servers::Server;

const MIB: usize = 1 << 20;

const FRAME: usize = 64 * 1024;

const LENGTH: usize = 100 * MIB;

/// The virtual time of one frame. The whole upload stays within the limits of the pipeline.
const FRAME_TIME: Duration = Duration::from_millis(5);

/// Runs a test with sockets on a paused clock, which only the test advances, in this thread alone.
/// Returns the most bytes that were allocated at a time.
fn peak<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    // While a blocking task runs, the clock does not advance by itself.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let _held = runtime.spawn_blocking(move || stopped.recv().unwrap_err());
    let info = allocation_counter::measure(|| runtime.block_on(test()));
    drop(stop);
    println!("at most {} KiB", info.bytes_max / 1024);
    info.bytes_max
}

/// A server that reads requests and drops what it reads. `each`: the time that it takes for a frame
/// of 64 KiB.
async fn server(each: Duration) -> Server {
    Server::hyper(move || {
        service_fn(move |request: Request<Incoming>| async move {
            let mut body = request.into_body();
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                let data = frame?.into_data().unwrap_or_default();
                read += data.len();
                let share = data.len() as f64 / FRAME as f64;
                if !each.is_zero() {
                    tokio::time::advance(each.mul_f64(share)).await;
                }
            }
            let complete = StatusCode::from_u16(if read == LENGTH { 204 } else { 400 }).unwrap();
            let response = Response::builder().status(complete);
            Ok::<_, BoxError>(response.body(Full::<Bytes>::default()).unwrap())
        })
    })
    .await
}

/// Frames that are made while they are sent, each a time after the one before.
fn generated() -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    futures::stream::iter(0..LENGTH / FRAME).then(|number| async move {
        tokio::time::advance(FRAME_TIME).await;
        Ok(vec![number as u8; FRAME].into())
    })
}

/// The amounts that the board's reader sees, until the job ends.
async fn seen(mut changes: Changes) -> Vec<u64> {
    let mut amounts = Vec::new();
    while let Some(view) = changes.next().await {
        let Some(done) = view.report.done() else {
            continue;
        };
        assert_eq!(view.report, Report::bytes(done, Some(LENGTH as u64)));
        if amounts.last() != Some(&done) {
            amounts.push(done);
        }
        if view.state.is_terminal() {
            assert_eq!(view.state, JobState::Succeeded);
            return amounts;
        }
    }
    panic!("the job never ended");
}

/// The amounts grow in at least this many steps, up to the whole length.
#[track_caller]
fn assert_steps(amounts: &[u64], least: usize) {
    println!("{} steps", amounts.len());
    assert!(amounts.is_sorted(), "{amounts:?}");
    assert_eq!(amounts[0], 0);
    assert_eq!(amounts.last(), Some(&(LENGTH as u64)));
    assert!(
        amounts.len() >= least,
        "{} steps: {amounts:?}",
        amounts.len()
    );
}

/// R87 R29b A stream of 100 MiB through the pipeline shows its progress in steps, and needs less than
/// 32 MiB, the server included.
#[test]
fn a_stream_of_100_mib_through_the_pipeline() {
    let peak = peak(|| async {
        let server = server(Duration::ZERO).await;
        let pipeline = Pipeline::http_client().build().unwrap();
        let (_, changes) = pipeline.progress().handle().changes();
        let seen = tokio::spawn(seen(changes));
        let client = reqwest::Client::builder()
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()
            .unwrap();
        let api = pipeline.layer(client.clone());
        let request = client
            .put(server.url("/file"))
            .header("content-length", LENGTH)
            .body(reqwest::Body::wrap_stream(generated()));
        let response = request.send_through(&api).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        // 8 s, with a report each 100 ms.
        assert_steps(&seen.await.unwrap(), 50);
    });
    assert!(peak < 32 * MIB as u64, "{peak} bytes");
}

/// R87 R29b The same with hyper-util's client, between the retry and a layer that counts.
#[test]
fn a_stream_of_100_mib_through_layers() {
    let peak = peak(|| async {
        let server = server(Duration::ZERO).await;
        let progress = ProgressLayer::http().uploads();
        let (_, changes) = progress.handle().changes();
        let seen = tokio::spawn(seen(changes));
        let client: Client<HttpConnector, _> = Client::builder(TokioExecutor::new()).build_http();
        let api = ServiceBuilder::new()
            .layer(tower_keep::ReplayLayer::new())
            .layer(progress)
            .layer(RetryLayer::http())
            .map_err(BoxError::from)
            .service(client);
        let body = generated().map(|data| data.map(Frame::data));
        let request = Request::put(server.url("/file"))
            .header("content-length", LENGTH)
            .body(StreamBody::new(Box::pin(body)))
            .unwrap();
        let response = api.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_steps(&seen.await.unwrap(), 50);
    });
    assert!(peak < 32 * MIB as u64, "{peak} bytes");
}

/// R87 100 MiB in memory are sent in frames, so that progress is not 0 and then everything. The body
/// is not copied. How many steps there are depends on what the sockets buffer.
#[test]
fn a_body_of_100_mib_in_memory() {
    let peak = peak(|| async {
        let server = server(FRAME_TIME).await;
        let progress = ProgressLayer::http().uploads();
        let (_, changes) = progress.handle().changes();
        let seen = tokio::spawn(seen(changes));
        let client: Client<HttpConnector, UploadBody<Full<Bytes>>> =
            Client::builder(TokioExecutor::new()).build_http();
        let api = ServiceBuilder::new()
            .layer(progress)
            .layer(RetryLayer::http())
            .map_err(BoxError::from)
            .service(client);
        let body = Full::new(Bytes::from(vec![7; LENGTH]));
        let request = Request::put(server.url("/file")).body(body).unwrap();
        let response = api.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_steps(&seen.await.unwrap(), 10);
    });
    assert!(peak < (LENGTH + 32 * MIB) as u64, "{peak} bytes");
}
