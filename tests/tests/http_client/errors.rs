//! What an error of the client says about its request: sent, or never sent.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpStream;
use tower::{Layer, ServiceExt, service_fn};
use tower_keep::{BoxError, RetryLayer, SendThrough, http::ErrorKind};
use tower_keep_test::http::{Connector, Origin, Reply};

/// R80 A connection that was made may fail as if it had not been made: after an ICMP message, its
/// time limit ends with the error of that message. The server may have got the request.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_made_sent_the_request() -> Result<(), BoxError> {
    for kind in [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::AddrNotAvailable,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::TimedOut,
    ] {
        let stream = tokio_test::io::Builder::new()
            .write(b"POST / HTTP/1.1\r\n\r\n")
            .read_error(kind.into())
            .build();
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::post("/").body(Empty::<Bytes>::new())?;
        let error = client.send_request(request).await.unwrap_err();
        assert_eq!(
            ErrorKind::of(&error),
            ErrorKind::PossiblyProcessed,
            "{error:?}"
        );
    }
    Ok(())
}

/// Why an upload failed: the client that it comes from could not connect.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the source of the upload failed")]
struct SourceFailed(Arc<legacy::Error>);

/// An error whose source is the error of another client.
#[derive(Debug)]
struct UploadError(SourceFailed);

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for UploadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0.0)
    }
}

/// A body that fails after its first frame.
#[derive(Clone, Debug)]
struct Upload {
    polls: u32,
    error: SourceFailed,
}

impl Upload {
    /// Its source refuses connections.
    async fn new() -> Self {
        let refuse = |_: Uri| std::future::ready(refused());
        let source = legacy::Client::builder(TokioExecutor::new()).build(service_fn(refuse));
        let request = Request::get("http://source.test/").body(Empty::<Bytes>::new());
        let error = source.request(request.unwrap()).await.unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::NeverSent);
        Self {
            polls: 0,
            error: SourceFailed(Arc::new(error)),
        }
    }
}

fn refused() -> io::Result<TokioIo<TcpStream>> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.polls += 1;
        match self.polls {
            1 => Poll::Ready(Some(Ok(Frame::data("begin".into())))),
            // The head and the first frame are sent before the body fails.
            2..=50 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Some(Err(UploadError(self.error.clone()).into()))),
        }
    }
}

/// Sends a request over a new connection.
async fn send(
    origin: Connector,
    is_http2: bool,
    request: Request<Upload>,
) -> Result<Response<Incoming>, BoxError> {
    let io = TokioIo::new(origin.connect()?);
    if is_http2 {
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        return Ok(client.send_request(request).await?);
    }
    let (mut client, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(client.send_request(request).await?)
}

/// R80 The error of a request body says nothing about the connection to the server: a POST whose
/// upload failed is not repeated.
#[tokio::test(start_paused = true)]
async fn a_failed_upload_was_sent() -> Result<(), BoxError> {
    for is_http2 in [false, true] {
        let origin = Origin::in_memory();
        let connector = origin.connector();
        let client = service_fn(|request| send(connector.clone(), is_http2, request));
        let client = RetryLayer::http().layer(client);
        let request = Request::post("http://origin.test/").body(Upload::new().await)?;
        let error = client.oneshot(request).await.unwrap_err();
        assert_eq!(ErrorKind::of(&*error), ErrorKind::RequestBody);
        tokio::task::yield_now().await;
        assert_eq!(origin.received().len(), 1, "{error:?}");
    }
    Ok(())
}

/// R80 So it is with reqwest.
#[tokio::test]
async fn a_failed_upload_of_reqwest_was_sent() -> Result<(), BoxError> {
    let origin = Origin::start().await?;
    let client = reqwest::Client::builder().retry(reqwest::retry::never());
    let client = client.no_proxy().build()?;
    let body = reqwest::Body::wrap(Upload::new().await);
    let request = client.post(origin.url("/")).body(body);
    let error = request.send().await.unwrap_err();
    assert_eq!(ErrorKind::of(&error), ErrorKind::RequestBody);
    Ok(())
}

/// R80 Without redirects, the error of a POST is the error of its own server.
#[tokio::test]
async fn a_post_that_was_redirected() -> Result<(), BoxError> {
    let gone = Origin::start().await?;
    gone.refuse()?;
    let origin = Origin::start().await?;
    let reply = Reply::status(303).header("location", gone.url("/done"));
    let origin = origin.then(reply).repeat_last();
    let client = reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let retry = RetryLayer::http().layer(client.clone());
    let response = client.post(origin.url("/")).send_through(&retry).await?;
    assert_eq!(response.status(), 303);
    assert_eq!(origin.received().len(), 1);
    Ok(())
}
