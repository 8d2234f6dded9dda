//! A frame of a response body that a layer follows, or that tower-http's layers wrap.
//!
//! A call of these cases is one frame of 16 KiB. The response is there, and some frames were read,
//! so that a limit has its timer. So a case is compared by what it adds to the
//! bare body, frame by frame.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    hint::black_box,
    mem,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use tokio::{runtime::Runtime, task::unconstrained};
use tower::{BoxError, Layer, Service, layer::util::Identity};
use tower_http::{timeout::ResponseBodyTimeoutLayer, trace::TraceLayer};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, JobLayer, LogLayer, Pipeline, ProgressLayer, TimeoutLayer,
};

use super::{HttpRequest, call, http_requests};
use crate::{
    cases::{Case, Cases},
    drive::Subject,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Enough that a timer was made.
const WARM_UP: u64 = 32;

static FRAME: [u8; 16 * 1024] = [7; 16 * 1024];

pub(super) fn add_peers(cases: &mut Cases) {
    cases.add_frames("frame, bare", Identity::new());
    cases.add_frames(
        "frame, tower-http timeout",
        ResponseBodyTimeoutLayer::new(MINUTE),
    );
    cases.add_frames("frame, tower-http trace", TraceLayer::new_for_http());
}

pub(super) fn add_keep(cases: &mut Cases) {
    cases.add_frames("frame, job", JobLayer::new("fetch").http());
    cases.add_frames("frame, log", LogLayer::http());
    let progress = ProgressLayer::http();
    // Without a reader, nothing is counted.
    mem::forget(progress.handle());
    cases.add_frames("frame, progress", progress);
    cases.add_frames("frame, cancel", CancelLayer::http());
    cases.add_frames("frame, breaker", CircuitBreakerLayer::http());
    cases.add_frames("frame, timeout", TimeoutLayer::http(MINUTE));
    cases.add_frames("frame, attempt timeout", TimeoutLayer::http_attempt(MINUTE));
    let client = Pipeline::http_client().build();
    cases.add_frames("frame, client", client.expect("the layers fit together"));
}

/// A body of frames that are ready at once, or after it was pending once.
struct Frames {
    left: u64,
    pends: bool,
    is_due: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pends && !mem::replace(&mut self.is_due, true) {
            return Poll::Pending;
        }
        self.is_due = false;
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        let data = Bytes::from_static(black_box(&FRAME));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

/// Answers with a body that is longer than any reader is patient.
#[derive(Clone)]
struct Files {
    pends: bool,
}

impl Service<HttpRequest> for Files {
    type Response = Response<Frames>;
    type Error = BoxError;
    type Future = Ready<Result<Response<Frames>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: HttpRequest) -> Self::Future {
        ready(Ok(Response::new(Frames {
            left: u64::MAX,
            pends: black_box(self.pends),
            is_due: false,
        })))
    }
}

/// Reads the body of one response.
struct Download<S, M> {
    service: S,
    make: M,
    runtime: Rc<Runtime>,
}

impl<S, M, B> Subject for Download<S, M>
where
    S: Service<HttpRequest, Response = Response<B>>,
    M: FnMut() -> HttpRequest,
    B: Body,
{
    fn run(&mut self, count: u64, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self {
            service,
            make,
            runtime,
        } = self;
        let all = async {
            let Ok(response) = call(service, make()).await else {
                panic!("the service does not fail")
            };
            let mut body = pin!(response.into_body());
            poll_fn(|cx| {
                read(body.as_mut(), WARM_UP, cx);
                around(&mut || read(body.as_mut(), count, cx));
                Poll::Ready(())
            })
            .await;
        };
        runtime.block_on(unconstrained(all));
    }
}

/// Reads this many frames. Out of line, so that each case is compiled alike.
#[inline(never)]
fn read<B: Body>(mut body: Pin<&mut B>, count: u64, cx: &mut Context<'_>) {
    for _ in 0..count {
        loop {
            if let Poll::Ready(frame) = black_box(body.as_mut()).poll_frame(cx) {
                assert!(black_box(frame).is_some_and(|frame| frame.is_ok()));
                break;
            }
        }
    }
}

impl Cases {
    /// A case of the frames that come through this layer.
    fn add_frames<L, B>(&mut self, name: &'static str, layer: L)
    where
        L: Layer<Files, Service: Service<HttpRequest, Response = Response<B>> + 'static>,
        B: Body + 'static,
    {
        let _entered = self.runtime.enter();
        let subject = |pends| {
            Box::new(Download {
                service: layer.layer(Files { pends }),
                make: http_requests(),
                runtime: Rc::clone(&self.runtime),
            })
        };
        self.all.push(Case {
            name,
            ours: self.ours,
            is_timed: true,
            ready: subject(false),
            pends: Some(subject(true)),
            bytes: size_of::<B>(),
        });
    }
}
