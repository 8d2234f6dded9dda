//! What a repeatable body costs.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::{Full, StreamBody};
use hyper::body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_keep::{BoxError, LogLayer, ReplayLayer, RetryLayer, http::replay::ReplayBody};

/// The allocations of this code.
fn allocations<T>(code: impl FnOnce() -> T) -> u64 {
    allocation_counter::measure(|| drop(code())).count_total
}

fn send<B>(mut body: ReplayBody<B>) -> u64
where
    B: Body<Error: Into<BoxError>>,
{
    let mut sent = 0;
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        sent += frame.unwrap().into_data().unwrap().len() as u64;
    }
    sent
}

/// R83 A body that fits costs two allocations, for any number of attempts. A longer list of frames
/// costs a third.
#[test]
fn a_body_that_fits_costs_two_allocations() {
    let frames = |count: usize| {
        let frame = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[7; 4096])));
        StreamBody::new(stream::iter((0..count).map(move |_| frame())))
    };
    for (count, most) in [(1, 2), (4, 2), (8, 3)] {
        let cost = allocations(|| {
            let body = ReplayBody::new(frames(count), 64 * 1024);
            for _ in 0..3 {
                assert_eq!(send(body.clone()), 4096 * count as u64);
            }
        });
        assert!(cost <= most, "{count} frames: {cost}");
    }
}

/// R83 The layer adds nothing to the cost of a body that is known to fit.
#[test]
fn the_layer_costs_no_more_than_the_body() {
    let inner = service_fn(|request: Request<ReplayBody<Full<Bytes>>>| {
        assert_eq!(send(request.into_body()), 9);
        std::future::ready(Ok::<_, BoxError>(()))
    });
    let mut service = ReplayLayer::new().layer(inner);
    let cost = allocations(|| {
        let request = Request::new(Full::new(Bytes::from_static(b"an upload")));
        service.call(request)
    });
    assert!((1..=2).contains(&cost), "{cost}");
}

/// R84 A response of reqwest stays one, so each layer that follows its body boxes it again. The
/// number is the price, per layer and response, whatever the size of the body.
#[test]
fn a_followed_response_of_reqwest_is_boxed_again() {
    fn cost<S>(service: impl Fn() -> S) -> u64
    where
        S: Service<reqwest::Request, Response = reqwest::Response, Error = BoxError>,
    {
        let call = |mut service: S| {
            let url = "http://example.com/".parse().unwrap();
            let call = service.call(reqwest::Request::new(http::Method::GET, url));
            let response = futures::FutureExt::now_or_never(call).unwrap().unwrap();
            let read = futures::FutureExt::now_or_never(response.bytes()).unwrap();
            assert_eq!(read.unwrap(), "page");
        };
        // The tables are filled once.
        call(service());
        let service = service();
        allocations(|| call(service))
    }
    let inner = || {
        service_fn(|_: reqwest::Request| {
            let response = reqwest::Response::from(http::Response::new("page"));
            std::future::ready(Ok::<_, BoxError>(response))
        })
    };
    let plain = cost(|| LogLayer::new().layer(inner()));
    let one = cost(|| LogLayer::http().layer(inner()));
    let two = cost(|| LogLayer::http().layer(LogLayer::http().layer(inner())));
    println!("plain {plain}, followed {one}, twice {two}");
    assert!(one - plain <= REQWEST_LAYER, "{plain} {one}");
    assert!(two - one <= REQWEST_LAYER, "{one} {two}");
}

/// The boxes of reqwest's conversions, its URL, and one for the guard.
const REQWEST_LAYER: u64 = 8;

/// R86 A body that may be resumed, and is not cut, costs nothing in addition to the retry.
#[test]
fn a_download_that_is_not_cut_costs_no_allocation() {
    /// A call, and the allocations until the end of its body.
    fn cost<S, B>(mut client: S) -> u64
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let mut call = || {
            let mut cx = Context::from_waker(Waker::noop());
            let mut future = std::pin::pin!(client.call(Request::new(Full::default())));
            let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
                panic!("the server answers at once")
            };
            let (mut body, mut read) = (response.into_body(), 0);
            while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
                read += frame.unwrap().into_data().unwrap().len();
            }
            assert_eq!(read, 16_384);
        };
        call();
        allocations(call)
    }
    let server = service_fn(|_: Request<Full<Bytes>>| {
        let frame = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[7; 4096])));
        let frames = stream::iter((0..4).map(move |_| frame()));
        let mut response = Response::new(StreamBody::new(frames));
        let headers = [("etag", "\"v1\""), ("content-length", "16384")];
        for (name, value) in headers {
            let value = http::HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        std::future::ready(Ok::<_, BoxError>(response))
    });
    let plain = cost(RetryLayer::http().layer(server));
    let resumed = cost(RetryLayer::http().resume().layer(server));
    assert_eq!(resumed, plain);
}
