//! Headers and bodies in forms that a careful server does not send.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CACHE_CONTROL};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tower::{Layer, service_fn};
use tower_keep::{BoxError, DedupLayer};
use tower_keep_tests::begin;

use super::{Site, answer, get, texts};

/// R88 A field that is not valid may say `private`, wherever its quotes are.
#[tokio::test(start_paused = true)]
async fn quotes_hide_no_directive() {
    for (value, exchanges) in [
        (&br#"x=a", private, y=""#[..], 2),
        (br#"x="a"b", private, y=""#, 2),
        (br#"x=\", private, y=""#, 2),
        (br#"x="a, private"#, 2),
        (b"x=\xff, max-age=60", 2),
        (b"\"private\"", 2),
        (b"private;max-age=60", 2),
        (b"max-age=60 private", 2),
        (b"\tPRIVATE\t", 2),
        (b"no-store=", 2),
        (br#"x="a, private", max-age="60""#, 1),
        (br#"x="\"", public"#, 1),
    ] {
        let site = Site::default();
        let mut client = DedupLayer::http_get().layer(site.client(move |number, _| {
            let mut page = Response::new(number.to_string());
            let value = HeaderValue::from_bytes(value).unwrap();
            page.headers_mut().insert(CACHE_CONTROL, value);
            page
        }));
        texts(&mut client, [get("/"), get("/")]).await;
        let value = String::from_utf8_lossy(value);
        assert_eq!(site.exchanges(), exchanges, "{value}");
    }
}

/// R88 One field of several lines decides, whichever it is.
#[tokio::test(start_paused = true)]
async fn each_line_of_a_field_counts() {
    let lines = |name: &'static str, bad: &'static str, at: usize| {
        (0..20).map(move |line| (name, if line == at { bad } else { "x-a" }))
    };
    for (name, bad) in [
        ("cache-control", "PRIVATE"),
        ("vary", "*"),
        ("pragma", "No-Cache"),
    ] {
        for at in [0, 7, 19] {
            let site = Site::default();
            let mut client = DedupLayer::http_get().layer(site.client(move |number, _| {
                let headers: Vec<_> = lines(name, bad, at).collect();
                answer(200, &headers).body(number.to_string()).unwrap()
            }));
            texts(&mut client, [get("/"), get("/")]).await;
            assert_eq!(site.exchanges(), 2, "{name} {at}");
        }
    }
}

/// A body of equal frames, always ready.
struct Frames {
    left: usize,
    frame: &'static [u8],
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.frame)))))
    }
}

/// R88 The memory of an exchange depends on the length of its body, and not on the number of its
/// frames. The bytes keep their order.
#[test]
fn small_frames_take_little_memory() {
    static LARGE: [u8; 4096] = [7; 4096];
    for (left, frame, most) in [
        (1 << 20, &b""[..], 64 * 1024),
        (1 << 20, b"x", 4 << 20),
        (1 << 18, b"1234", 4 << 20),
        (1 << 8, &LARGE, 4 << 20),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut client = DedupLayer::http_get().layer(service_fn(move |_: Request<String>| {
            let body = Frames { left, frame };
            async { Ok::<_, BoxError>(Response::new(body)) }
        }));
        let mut page = None;
        let used = allocation_counter::measure(|| {
            page = runtime.block_on(async { begin(&mut client, get("/")).await.await.ok() });
        });
        let body = runtime
            .block_on(page.unwrap().into_body().collect())
            .unwrap();
        assert!(body.to_bytes() == frame.repeat(left), "{}", frame.len());
        assert!(used.bytes_max < most, "{} {used:?}", frame.len());
    }
}

/// R88 Small and large frames, and the rest of a body above the cap, come in their order.
#[tokio::test(start_paused = true)]
async fn frames_of_all_sizes_keep_their_order() {
    use super::{Step, Steps};

    static PAGE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        (0..20_000)
            .map(|at| char::from(b'a' + (at % 23) as u8))
            .collect()
    });
    let page: &'static str = &PAGE;
    for max_body in [0, 1, 500, 5000, 15_000, 20_000] {
        let site = Site::default();
        let mut client =
            DedupLayer::http_get()
                .max_body(max_body)
                .layer(site.client(move |_, _| {
                    let (mut rest, mut steps) = (page, Vec::new());
                    for size in [1, 700, 0, 3, 1023, 1024, 1025, 2, 2, 5000, 9, 4000, 1]
                        .iter()
                        .cycle()
                    {
                        let (frame, after) = rest.split_at((*size).min(rest.len()));
                        steps.push(Step::Data(frame));
                        rest = after;
                        if rest.is_empty() {
                            break;
                        }
                    }
                    steps.push(Step::Trailers);
                    Response::new(Steps::new(steps))
                }));
        let calls = [
            begin(&mut client, get("/")).await,
            begin(&mut client, get("/")).await,
        ];
        for response in futures::future::join_all(calls).await {
            let body = response.unwrap().into_body().collect().await.unwrap();
            assert!(body.trailers().is_some());
            assert!(body.to_bytes() == page, "{max_body}");
        }
        assert_eq!(site.exchanges(), if max_body < page.len() { 2 } else { 1 });
    }
}
