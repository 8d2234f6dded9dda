//! Established connections that end with the errors of connecting, and request bodies that fail.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, ready},
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use http::Request;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};
use tower::{BoxError, service_fn};
use tower_keep::http::ErrorKind;
use tower_keep_test::http::Origin;

/// A connection that takes a request and then fails with this error.
struct Failing {
    error: io::ErrorKind,
    has_taken: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_taken {
            return Poll::Ready(Err(self.error.into()));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_taken = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Failing {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// R81 A connection that took the request may end with the same `io::Error` as a failed connect: after
/// lost packets, the system reports what a router answered. The server may have got the request.
#[tokio::test]
async fn an_established_connection_was_used() {
    for error in [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::AddrNotAvailable,
        io::ErrorKind::TimedOut,
        io::ErrorKind::ConnectionReset,
    ] {
        for h2 in [false, true] {
            let connect = service_fn(move |_: http::Uri| {
                ready(Ok::<_, Infallible>(TokioIo::new(Failing {
                    error,
                    has_taken: false,
                    reader: None,
                })))
            });
            let mut client = legacy::Client::builder(TokioExecutor::new());
            client.http2_only(h2).retry_canceled_requests(false);
            let client = client.build::<_, Full<Bytes>>(connect);
            let request = Request::post("http://api.example/").body("body".into());
            let failure = client.request(request.unwrap()).await.unwrap_err();
            let kind = ErrorKind::of(&failure);
            // HTTP/2 begins with a preface, so the request itself may be unsent. The client knows.
            let is_unsent = h2 && format!("{failure:?}").contains("Canceled");
            let expected = match is_unsent {
                true => ErrorKind::NeverSent,
                false => ErrorKind::PossiblyProcessed,
            };
            assert_eq!(kind, expected, "{failure:?}");
        }
    }
}

/// R81 A connect that fails in these ways sent nothing.
#[tokio::test]
async fn a_failed_connect_sent_nothing() {
    for error in [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::AddrNotAvailable,
        io::ErrorKind::TimedOut,
    ] {
        let connect = service_fn(move |_: http::Uri| {
            ready(Err::<TokioIo<Failing>, _>(io::Error::from(error)))
        });
        let client = legacy::Client::builder(TokioExecutor::new());
        let client = client.build::<_, Full<Bytes>>(connect);
        let request = Request::post("http://api.example/").body("body".into());
        let failure = client.request(request.unwrap()).await.unwrap_err();
        assert_eq!(ErrorKind::of(&failure), ErrorKind::NeverSent, "{failure:?}");
    }
}

/// The body of the request fails after its first bytes, which have arrived.
async fn kind_of_failed_body<F, Fut, E>(send: F, error: BoxError) -> (ErrorKind, String)
where
    F: FnOnce(String, BoxStream<'static, Result<Bytes, BoxError>>) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let origin = Origin::start().await.unwrap();
    let (gate, opened) = oneshot::channel::<()>();
    let first = stream::once(async { Ok(Bytes::from_static(b"first")) });
    let failure = stream::once(async move {
        let _ = opened.await;
        Err(error)
    });
    let open = async {
        origin.until(|received| !received.is_empty()).await;
        drop(gate);
    };
    let call = send(origin.url("/"), first.chain(failure).boxed());
    let (result, ()) = tokio::join!(call, open);
    let failure = result.unwrap_err();
    (ErrorKind::of(&failure), format!("{failure:?}"))
}

/// R81 The body of the request fails with an error that looks like a failed connect, as when it comes
/// from another server. The server got a part of the request.
#[tokio::test]
async fn a_request_body_that_fails() {
    let hyper = |h2| {
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client.http2_only(h2).retry_canceled_requests(false);
        client
    };
    let unreachable = Origin::start().await.unwrap();
    unreachable.refuse().unwrap();
    for what in ["refused", "no address", "connect", "other"] {
        for h2 in [false, true] {
            let error = async || -> BoxError {
                match what {
                    "refused" => io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                    "no address" => io::Error::from(io::ErrorKind::AddrNotAvailable).into(),
                    "connect" => {
                        let client = hyper(h2).build_http::<Full<Bytes>>();
                        let url = unreachable.url("/").parse().unwrap();
                        client.get(url).await.unwrap_err().into()
                    }
                    _ => "other".into(),
                }
            };
            let send = async |url, chunks: BoxStream<'static, _>| {
                let client = hyper(h2).build_http();
                let body = StreamBody::new(chunks.map_ok(Frame::data));
                let request = Request::post::<String>(url).body(body).unwrap();
                client.request(request).await.map(drop)
            };
            let (kind, text) = kind_of_failed_body(send, error().await).await;
            assert_eq!(kind, ErrorKind::PossiblyProcessed, "h2: {h2}, {text}");
            let send = async |url: String, chunks| {
                let client = reqwest::Client::builder().no_proxy();
                let client = client.retry(reqwest::retry::never());
                let client = match h2 {
                    true => client.http2_prior_knowledge(),
                    false => client.http1_only(),
                };
                let request = client.build().unwrap().post(url);
                let body = reqwest::Body::wrap_stream(chunks);
                request.body(body).send().await.map(drop)
            };
            let (kind, text) = kind_of_failed_body(send, error().await).await;
            assert_eq!(kind, ErrorKind::PossiblyProcessed, "h2: {h2}, {text}");
        }
    }
}
