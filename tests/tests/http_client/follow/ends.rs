//! Each end of a body, in memory: when the job ends, and how.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

use bytes::Bytes;
use http::{Method, Request, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Body;
use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, Event, EventKind, FailureCause, LogLayer, find,
    http::{
        ErrorKind,
        body::{FollowedBody, JobGuard},
    },
};
use tower_keep_test::Recorder;

use super::{
    Step::{Data, Error, Panics, Pends, Trailers},
    Steps, end, ended, get, poll, server,
};

type Followed<B> = Response<FollowedBody<B, JobGuard>>;

/// The response of a server that answers 200 with this body.
async fn respond<B: Body<Error: Into<BoxError>> + Send + 'static>(
    body: B,
) -> (Followed<B>, Recorder) {
    respond_to(get(), 200, body).await
}

async fn respond_to<B: Body<Error: Into<BoxError>> + Send + 'static>(
    request: Request<String>,
    status: u16,
    body: B,
) -> (Followed<B>, Recorder) {
    let recorder = Recorder::new();
    let service = LogLayer::http_to(recorder.clone()).layer(server(status, body));
    let response = service.oneshot(request).await.unwrap();
    (response, recorder)
}

fn complete() -> Option<(String, &'static str)> {
    Some(("succeeded".to_owned(), "complete"))
}

fn dropped() -> Option<(String, &'static str)> {
    Some(("succeeded".to_owned(), "dropped"))
}

/// R84 The job ends when its body has been read, and not before. The terminal event is the last.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_read_ends_the_job() {
    let (response, recorder) = respond(Steps::new([Data("a "), Pends, Data("page")])).await;
    assert_eq!(recorder.names(), ["dispatched", "started"]);
    let mut body = response.into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_pending());
    assert!(poll(&mut body).is_ready());
    assert_eq!(end(&recorder), None, "it may go on");
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
    assert_eq!(end(&recorder), complete());
    // Polled once more, it is still at its end.
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
    drop(body);
    assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
}

/// R84 A body is complete with its last frame if it says so; a reader need not poll it again.
#[tokio::test(start_paused = true)]
async fn the_last_frame_ends_the_job() {
    let steps = Steps::new([Data("a "), Data("page")]);
    let (response, recorder) = respond(steps.says_when_it_ends()).await;
    let mut body = response.into_body();
    assert!(poll(&mut body).is_ready());
    assert_eq!(end(&recorder), None);
    assert!(poll(&mut body).is_ready());
    assert_eq!(end(&recorder), complete());
    drop(body);
    assert_eq!(end(&recorder), complete());
    let (response, recorder) = respond(Full::new(Bytes::from("a page"))).await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "a page"
    );
    assert_eq!(end(&recorder), complete());
}

/// R84 A body whose whole length was read, but not its end, may still fail or stall. Its reader has
/// all of it, and may drop it.
#[tokio::test(start_paused = true)]
async fn the_whole_length_was_read() {
    let page = |then| {
        let steps = [Data("a "), Data("page")].into_iter().chain(then);
        Steps::new(steps)
    };
    for declares in [true, false] {
        let cases: [(Option<_>, _); 3] = [
            (None, complete()),
            (Some(Pends), complete()),
            (
                Some(Error(io::ErrorKind::ConnectionReset)),
                Some(("connection reset".to_owned(), "truncated")),
            ),
        ];
        for (then, expected) in cases {
            let pends = matches!(then, Some(Pends));
            let (body, length) = match declares {
                true => (page(then), "6"),
                false => (page(then).exact(), "unknown"),
            };
            let recorder = Recorder::new();
            let server = server(200, body).map_response(move |mut response| {
                let length = length.parse().unwrap();
                response.headers_mut().insert(CONTENT_LENGTH, length);
                response
            });
            let service = LogLayer::http_to(recorder.clone()).layer(server);
            let mut body = service.oneshot(get()).await.unwrap().into_body();
            for _ in 0..2 {
                assert!(poll(&mut body).is_ready());
                assert_eq!(end(&recorder), None);
            }
            assert_eq!(poll(&mut body).is_pending(), pends);
            if pends {
                assert_eq!(end(&recorder), None);
                drop(body);
            }
            assert_eq!(end(&recorder), expected, "{declares}");
        }
    }
}

/// R84 Trailers are the last frame.
#[tokio::test(start_paused = true)]
async fn trailers_end_the_job() {
    let (response, recorder) = respond(Steps::new([Data("page"), Trailers])).await;
    let mut body = response.into_body();
    assert!(poll(&mut body).is_ready());
    assert_eq!(end(&recorder), None);
    let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else {
        panic!("the trailers")
    };
    assert!(frame.is_trailers());
    assert_eq!(end(&recorder), complete());
}

/// R84 A declared length that was read is a complete body, even if the body itself knows no length.
/// The length of an encoded form is not that of the body.
#[tokio::test(start_paused = true)]
async fn a_declared_length_ends_the_job() {
    for (headers, expected) in [
        (&[("content-length", "6")][..], complete()),
        (&[("content-length", "7")], dropped()),
        (&[("content-length", "2")], dropped()),
        (
            &[("content-length", "6"), ("content-length", "6")],
            complete(),
        ),
        (
            &[("content-length", "6"), ("content-length", "7")],
            dropped(),
        ),
        (&[("content-length", "much")], dropped()),
        (
            &[("content-length", "6"), ("content-encoding", "gzip")],
            dropped(),
        ),
    ] {
        let recorder = Recorder::new();
        let mut server =
            server(200, Steps::new([Data("a "), Data("page")])).map_response(|mut response| {
                for (name, value) in headers {
                    response.headers_mut().append(*name, value.parse().unwrap());
                }
                response
            });
        let mut log = LogLayer::http_to(recorder.clone()).layer(&mut server);
        let mut body = log
            .ready()
            .await
            .unwrap()
            .call(get())
            .await
            .unwrap()
            .into_body();
        for _ in 0..2 {
            assert_eq!(end(&recorder), None);
            assert!(poll(&mut body).is_ready());
        }
        drop(body);
        assert_eq!(end(&recorder), expected, "{headers:?}");
    }
}

/// R84 Where nothing is left to read, the job ends with the head: an empty body, an answer to HEAD,
/// and a status without a body. The length that the head declares is not the length of the body.
#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_ends_the_job_at_once() {
    async fn check<B: Body<Error: Into<BoxError>> + Send + 'static>(
        method: Method,
        status: u16,
        body: B,
    ) {
        let mut request = get();
        *request.method_mut() = method;
        let (response, recorder) = respond_to(request, status, body).await;
        assert_eq!(end(&recorder), complete(), "{status}");
        drop(response);
        assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
    }
    check(Method::GET, 200, Empty::<Bytes>::new()).await;
    check(Method::GET, 200, Full::<Bytes>::default()).await;
    check(Method::GET, 200, String::new()).await;
    check(Method::GET, 200, Steps::new([]).exact()).await;
    check(Method::GET, 200, Steps::new([]).says_when_it_ends()).await;
    for status in [101, 204, 304] {
        check(Method::GET, status, Steps::new([])).await;
    }
    check(Method::HEAD, 200, Steps::new([])).await;
    check(Method::HEAD, 404, Steps::new([])).await;
    let (response, recorder) = respond(Steps::new([])).await;
    assert_eq!(end(&recorder), None, "it may go on");
    drop(response);
}

/// R84 A body that fails fails the job, with the error's text. The reader gets the error, with the
/// inner error inside.
#[tokio::test(start_paused = true)]
async fn a_truncated_body_fails_the_job() {
    let kind = io::ErrorKind::UnexpectedEof;
    for steps in [vec![Error(kind)], vec![Data("a "), Pends, Error(kind)]] {
        let polls = steps.len();
        let (response, recorder) = respond(Steps::new(steps)).await;
        let mut body = response.into_body();
        for _ in 1..polls {
            let _ = poll(&mut body);
        }
        let Poll::Ready(Some(Err(error))) = poll(&mut body) else {
            panic!("the error")
        };
        assert_eq!(find::<io::Error>(&*error).unwrap().kind(), kind);
        assert_eq!(ErrorKind::of(&*error), ErrorKind::BodyTruncated);
        let Some((EventKind::Failed { cause, error: text }, body_end)) = ended(&recorder) else {
            panic!("{:?}", recorder.events())
        };
        assert_eq!(cause, FailureCause::Error);
        assert_eq!(*text, *error.to_string());
        assert_eq!(body_end.unwrap().to_string(), "truncated");
        drop(body);
        recorder.assert_one_terminal_each();
    }
}

/// R84 A reader may drop a body: then the job ends as its head was.
#[tokio::test(start_paused = true)]
async fn a_dropped_body_ends_the_job_as_its_head() {
    for polls in 0..3 {
        let (response, recorder) = respond(Steps::new([Data("a "), Pends, Data("page")])).await;
        let mut body = response.into_body();
        for _ in 0..polls {
            let _ = poll(&mut body);
        }
        assert_eq!(end(&recorder), None);
        drop(body);
        assert_eq!(end(&recorder), dropped(), "{polls} polls");
    }
    // The response, too, and the future of a call that was ready.
    let (response, recorder) = respond(Steps::new([Data("page")])).await;
    drop(response);
    assert_eq!(end(&recorder), dropped());
}

/// R84 A head that is a failure stays the job's failure, however the body ends.
#[tokio::test(start_paused = true)]
async fn the_failure_of_the_head_stays() {
    let failure = |body| Some(("the server answered 503".to_owned(), body));
    let read = |steps: Vec<super::Step>| async move {
        let (response, recorder) = respond_to(get(), 503, Steps::new(steps)).await;
        assert_eq!(end(&recorder), None);
        let _ = response.into_body().collect().await;
        end(&recorder)
    };
    assert_eq!(read(vec![Data("sorry")]).await, failure("complete"));
    let cut = Error(io::ErrorKind::ConnectionReset);
    assert_eq!(read(vec![Data("so"), cut]).await, failure("truncated"));
    let (response, recorder) = respond_to(get(), 503, Steps::new([])).await;
    drop(response);
    assert_eq!(end(&recorder), failure("dropped"));
    let (_response, recorder) = respond_to(get(), 503, Empty::<Bytes>::new()).await;
    assert_eq!(end(&recorder), failure("complete"));
}

/// R84 R71 A body that panics ends the job as panicked, and the panic goes on to the reader.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_body_ends_the_job() {
    let (response, recorder) = respond(Steps::new([Data("a "), Panics])).await;
    let mut body = response.into_body();
    let _ = poll(&mut body);
    let panicked = catch_unwind(AssertUnwindSafe(|| poll(&mut body).is_ready()));
    assert_eq!(
        panicked.unwrap_err().downcast_ref(),
        Some(&"the body broke")
    );
    let Some((EventKind::Failed { cause, error }, None)) = ended(&recorder) else {
        panic!("{:?}", recorder.events())
    };
    assert_eq!(cause, FailureCause::Panicked);
    assert!(error.contains("the body broke"), "{error}");
    drop(body);
    recorder.assert_one_terminal_each();
}

/// R84 Hints, end and frames are those of the inner body, and `Unpin` is kept.
#[tokio::test(start_paused = true)]
async fn the_body_looks_like_the_inner_one() {
    fn unpin<T: Unpin + Send + Sync>(_: &T) {}
    let steps = Steps::new([Data("a "), Data("page"), Trailers]);
    let (mut response, _) = respond(steps.exact().says_when_it_ends()).await;
    response.headers_mut().insert(CONTENT_LENGTH, 6.into());
    let mut body = response.into_body();
    unpin(&body);
    for left in [6, 4, 0] {
        assert_eq!(body.size_hint().exact(), Some(left));
        assert!(!body.is_end_stream());
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    }
    assert!(body.is_end_stream());
    assert!(body.get_ref().unwrap().is_end_stream());

    let (response, _) = respond(Steps::new([Data("page")])).await;
    let body = response.into_body();
    assert_eq!(
        (body.size_hint().lower(), body.size_hint().upper()),
        (0, None)
    );
}

/// R84 A body that is not `Unpin` is followed too.
#[tokio::test(start_paused = true)]
async fn a_pinned_body_is_followed() {
    let frames = futures::stream::once(async {
        tokio::time::sleep(super::minute()).await;
        Ok::<_, io::Error>(hyper::body::Frame::data(Bytes::from("page")))
    });
    let (response, recorder) = respond(http_body_util::StreamBody::new(frames)).await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "page"
    );
    assert_eq!(end(&recorder), complete());
    let took = recorder.times().last().unwrap().1;
    assert_eq!(took, super::minute(), "the job takes as long as its body");
}

/// R84 A panic of the sink at the end of a body stays away from the reader.
#[tokio::test(start_paused = true)]
async fn a_panicking_sink_does_not_harm_the_reader() {
    let service = LogLayer::http_to(|event: &Event| {
        if event.kind.is_terminal() {
            panic!("the sink broke");
        }
    })
    .layer(server(200, Steps::new([Data("page")])));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "page"
    );
}
