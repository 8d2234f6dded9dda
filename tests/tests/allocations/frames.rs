//! What a frame of a followed body costs: nothing on the heap.
//!
//! No lock is taken either, by construction. A guard reads the ambient context, which is
//! thread-local, and the flags of its job, which are atomic. A lock belongs to what few frames do:
//! a report (at most one each 100 ms), the first wait of a limit, which makes its timer, and the end
//! of the body.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::{Full, StreamBody};
use hyper::body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, JobLayer, LogLayer, Pipeline, ProgressLayer,
    TimeoutLayer,
};

const MINUTE: Duration = Duration::from_secs(60);

const FRAMES: u64 = 1_000;

/// Reads this number of frames. Returns how often the body waited.
fn read<B: Body>(mut body: std::pin::Pin<&mut B>, frames: u64) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut read, mut waits) = (0, 0);
    while read < frames {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(frame) => {
                assert!(frame.is_some_and(|frame| frame.is_ok()));
                read += 1;
            }
            Poll::Pending => waits += 1,
        }
    }
    waits
}

/// The allocations of a thousand frames of an endless body behind this layer, after the first ones,
/// which a limit may have waited for.
macro_rules! frames {
    ($layer:expr) => {
        for pends in [false, true] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let _entered = runtime.enter();
            let mut service = $layer.layer(service_fn(move |_: Request<Full<Bytes>>| {
                let mut is_due = !pends;
                let frames = stream::poll_fn(move |_| {
                    is_due = !is_due || !pends;
                    match is_due {
                        true => Poll::Ready(Some(Ok::<_, BoxError>(Frame::data(
                            Bytes::from_static(&[7; 1024]),
                        )))),
                        false => Poll::Pending,
                    }
                });
                std::future::ready(Ok::<_, BoxError>(Response::new(StreamBody::new(frames))))
            }));
            let request = Request::get("http://example.com/").body(Full::default());
            let call = pin!(service.call(request.unwrap()));
            let Poll::Ready(response) = call.poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("it waits for nothing");
            };
            let mut body = pin!(response.unwrap().into_body());
            read(body.as_mut(), 2);
            let mut waits = 0;
            let cost = allocation_counter::measure(|| waits = read(body.as_mut(), FRAMES));
            assert_eq!(waits, if pends { FRAMES } else { 0 });
            assert_eq!(cost.count_total, 0, "{} pends: {pends}", stringify!($layer));
        }
    };
}

/// R84 A followed frame costs no allocation, whether the body waits or not.
#[test]
fn a_followed_frame_allocates_nothing() {
    frames!(JobLayer::new("fetch").http());
    frames!(LogLayer::http());
    frames!(CancelLayer::http());
    frames!(CircuitBreakerLayer::http());
    frames!(TimeoutLayer::http(MINUTE));
    frames!(TimeoutLayer::http_attempt(MINUTE));
    frames!(Pipeline::http_client().build().unwrap());
}

/// R84 With a reader of its reports, too.
#[test]
fn a_counted_frame_allocates_nothing() {
    let progress = ProgressLayer::http();
    let board = progress.handle();
    frames!(progress);
    assert!(board.jobs().is_empty());
}
