//! What the transport gets: the same body, in frames of at most 64 KiB.

use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_keep::{BoxError, ProgressLayer, http::upload::UploadBody};
use tower_keep_tests::recording;

use super::{FRAME, MIB, amounts, data, no_content, put, reports};

/// A body of these chunks, which may know its length, may say when it ends, and may have trailers.
#[derive(Clone, Debug, Default)]
struct Chunks {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    is_exact: bool,
    ends: bool,
}

impl Chunks {
    fn left(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = self.chunks.pop_front().map(Frame::data);
        let next = next.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.chunks.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_exact {
            true => SizeHint::with_exact(self.left()),
            false => SizeHint::default(),
        }
    }
}

/// What a transport sees of a body.
#[derive(Debug, Default)]
struct Seen {
    frames: Vec<Bytes>,
    trailers: usize,
}

/// Reads the body as a transport does: to `None`, or until the body says that it is over. Checks
/// the size hint on the way.
fn read<B>(body: B, stops_at_end: bool) -> Seen
where
    B: Body<Data = Bytes, Error = io::Error>,
{
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    let mut seen = Seen::default();
    let whole = body.size_hint().exact();
    let mut sent = 0;
    loop {
        assert_eq!(
            body.size_hint().exact(),
            whole.map(|whole| whole - sent),
            "the hint stays exact"
        );
        if stops_at_end && body.is_end_stream() {
            return seen;
        }
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => {
                let frame = frame.unwrap();
                seen.trailers += usize::from(frame.is_trailers());
                if let Ok(data) = frame.into_data() {
                    sent += data.len() as u64;
                    seen.frames.push(data);
                }
            }
            Poll::Ready(None) => return seen,
            Poll::Pending => panic!("it never waits"),
        }
    }
}

/// Sends a body through the layer, and returns what a transport sees, and the reported amounts.
fn send(body: Chunks, stops_at_end: bool) -> (Seen, Vec<u64>, Option<u64>) {
    let (outer, recorder) = recording();
    let client = tower::ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .service(service_fn(move |request: Request<UploadBody<Chunks>>| {
            let seen = read(request.into_body(), stops_at_end);
            std::future::ready(Ok::<_, BoxError>(no_content().map(|_| {
                seen.frames.iter().map(Bytes::len).max();
                // The response carries what was seen.
                Carried(Some(seen))
            })))
        }));
    let response = client.oneshot(put(body)).now_or_never().unwrap().unwrap();
    let seen = response.into_body().get_ref().unwrap().take();
    let total = reports(&recorder)
        .last()
        .and_then(tower_keep::Report::total);
    (seen, amounts(&recorder), total)
}

/// An empty body that brings the test what the server saw.
#[derive(Debug)]
struct Carried(Option<Seen>);

impl Carried {
    fn take(&self) -> Seen {
        let seen = self.0.as_ref().unwrap();
        Seen {
            frames: seen.frames.clone(),
            trailers: seen.trailers,
        }
    }
}

impl Body for Carried {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// R87 R29b Whatever the chunks, the transport gets the same bytes and trailers in frames of at
    /// most 64 KiB. The reports grow from 0 to the whole length.
    #[test]
    fn any_body_arrives_whole(
        lengths in prop::collection::vec(
            prop_oneof![Just(0_usize), 1..10_usize, 1..FRAME, FRAME - 1..FRAME + 2, 1..4 * FRAME],
            0..8,
        ),
        is_exact: bool,
        ends: bool,
        has_trailers: bool,
        stops_at_end: bool,
    ) {
        let mut all = data(lengths.iter().sum());
        let whole = all.clone();
        let body = Chunks {
            chunks: lengths.iter().map(|length| all.split_to(*length)).collect(),
            trailers: has_trailers.then(HeaderMap::new),
            is_exact,
            ends,
        };
        let is_empty = (is_exact && whole.is_empty()) || body.is_end_stream();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (seen, amounts, total) = send(body, stops_at_end);
        prop_assert!(seen.frames.iter().all(|frame| frame.len() <= FRAME));
        prop_assert_eq!(seen.frames.concat(), &whole[..]);
        prop_assert_eq!(seen.trailers, usize::from(has_trailers));
        if is_empty {
            prop_assert_eq!(amounts, Vec::<u64>::new());
        } else {
            prop_assert!(amounts.is_sorted());
            prop_assert_eq!(amounts.first(), Some(&0));
            prop_assert_eq!(amounts.last(), Some(&(whole.len() as u64)));
            prop_assert_eq!(total, Some(whole.len() as u64));
        }
    }
}

/// R87 A body in memory is split without a copy.
#[tokio::test(start_paused = true)]
async fn bytes_are_not_copied() {
    let whole = data(MIB + 1);
    let body = Chunks {
        chunks: [whole.clone()].into(),
        is_exact: true,
        ends: true,
        trailers: None,
    };
    let (seen, ..) = send(body, true);
    assert_eq!(seen.frames.len(), 17);
    let mut at = whole.as_ptr();
    for frame in &seen.frames {
        assert_eq!(frame.as_ptr(), at);
        at = at.wrapping_add(frame.len());
    }
}

/// Data that are not one piece of memory.
#[derive(Clone, Debug)]
struct Pieces(VecDeque<Bytes>);

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let piece = self.0.front_mut().unwrap();
            let part = piece.len().min(count);
            piece.advance(part);
            count -= part;
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

/// R87 Data of any `Buf` become `Bytes`, in the same pieces.
#[tokio::test(start_paused = true)]
async fn data_of_any_kind() {
    let mut all = data(3 * FRAME + 5);
    let whole = all.clone();
    let pieces = [FRAME - 3, 10, FRAME, 7].map(|length| all.split_to(length));
    let pieces = Pieces(pieces.into_iter().chain([all]).collect());
    let client = ProgressLayer::http().uploads().layer(service_fn(
        |request: Request<UploadBody<Full<Pieces>>>| async {
            let frames = super::read(request.into_body(), 0).await?;
            let lengths: Vec<_> = frames.iter().map(Bytes::len).collect();
            assert_eq!(lengths, [FRAME, FRAME, FRAME, 5]);
            Ok::<_, BoxError>(http::Response::new(Full::from(frames.concat())))
        },
    ));
    let response = client.oneshot(put(Full::new(pieces))).await.unwrap();
    let back = super::read(response.into_body(), 0).await.unwrap().concat();
    assert_eq!(back, whole);
}

/// R87 The wrapper keeps what a body can do: `Unpin`, `Clone`, `Send` and `Sync`, its error.
#[test]
fn the_wrapper_is_like_the_body() {
    fn keeps<B>()
    where
        B: Body<Data = Bytes, Error = io::Error> + Unpin + Clone + Send + Sync + 'static,
    {
    }
    keeps::<UploadBody<Chunks>>();
    static_assertions::assert_not_impl_any!(
        UploadBody<http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>>: Clone, Sync
    );
    struct Pinned(std::marker::PhantomPinned);
    impl Body for Pinned {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            let _ = &self.0;
            Poll::Ready(None)
        }
    }
    static_assertions::assert_not_impl_any!(UploadBody<Pinned>: Unpin);
}
