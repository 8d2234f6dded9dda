//! Time limits that include the response body: asks 22 to 24.

mod from_origin;
mod idle;
mod overall;
mod polls;
mod reqwest_response;
mod settings;
mod stacks;

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep::{BoxError, find, timeout::Elapsed};
use tower_keep_test::secs;

/// A part of a body, and the second at which it arrives, read or not.
pub(super) type Part = (u64, &'static str);

/// The name of the trailers as a part, and of an error.
pub(super) const TRAILERS: &str = "<trailers>";
pub(super) const FAILS: &str = "<fails>";

/// A body whose parts arrive at their times, whether its reader polls or not. It ends with the last
/// one.
pub(super) struct Timed {
    born: Instant,
    parts: VecDeque<Part>,
    hangs: bool,
    is_exact: bool,
    arrives: Option<Pin<Box<Sleep>>>,
    alive: Arc<()>,
}

impl Timed {
    pub(super) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            born: Instant::now(),
            parts: parts.into_iter().collect(),
            hangs: false,
            is_exact: false,
            arrives: None,
            alive: Arc::default(),
        }
    }

    /// Nothing follows the last part, not even the end.
    pub(super) fn hangs(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// The exact length is known.
    pub(super) fn exact(mut self) -> Self {
        self.is_exact = true;
        self
    }

    /// Dead when the body was dropped.
    pub(super) fn alive(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some((at, part)) = self.parts.front().copied() else {
            return match self.hangs {
                true => Poll::Pending,
                false => Poll::Ready(None),
            };
        };
        let at = self.born + secs(at);
        let arrives = self
            .arrives
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        ready!(arrives.as_mut().poll(cx));
        self.arrives = None;
        self.parts.pop_front();
        Poll::Ready(Some(match part {
            TRAILERS => Ok(Frame::trailers(HeaderMap::new())),
            FAILS => Err(io::ErrorKind::ConnectionReset.into()),
            data => Ok(Frame::data(Bytes::from(data))),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_exact {
            true => {
                SizeHint::with_exact(self.parts.iter().map(|(_, data)| data.len() as u64).sum())
            }
            false => SizeHint::default(),
        }
    }
}

/// A request to a server.
pub(super) fn get() -> Request<String> {
    Request::get("http://example.com/")
        .body(String::new())
        .unwrap()
}

/// The client's inner service, which can be called again.
pub(super) trait Server<B>:
    Service<Request<String>, Response = Response<B>, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<B, S> Server<B> for S where
    S: Service<Request<String>, Response = Response<B>, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A server whose head takes this long. Its body is made when the request arrives.
pub(super) fn server<B>(
    thinks: Duration,
    body: impl Fn() -> B + Clone + Send + Sync + 'static,
) -> impl Server<B>
where
    B: Send + 'static,
{
    service_fn(move |_: Request<String>| {
        let body = body();
        async move {
            tokio::time::sleep(thinks).await;
            Ok(Response::new(body))
        }
    })
}

/// The body of the response to one call of this layer around the server.
pub(super) async fn body_of<L, B, Followed>(layer: L, server: impl Server<B>) -> Followed
where
    L: Layer<BoxedServer<B>>,
    L::Service: Service<Request<String>, Response = Response<Followed>, Error = BoxError>,
    B: 'static,
{
    let service = layer.layer(BoxedServer::new(server));
    service.oneshot(get()).await.unwrap().into_body()
}

type BoxedServer<B> = tower::util::BoxCloneSyncService<Request<String>, Response<B>, BoxError>;

/// The next frame's data; `None` at the end.
pub(super) async fn next<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
) -> Option<Result<String, B::Error>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| match frame.into_data() {
        Ok(data) => String::from_utf8(data.into()).unwrap(),
        Err(_) => TRAILERS.to_owned(),
    }))
}

/// Reads the whole body as text.
pub(super) async fn read<B: Body<Data = Bytes>>(body: B) -> Result<String, B::Error> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.into()).unwrap())
}

/// The limit that ended the body.
pub(super) fn elapsed(error: &BoxError) -> &Elapsed {
    find::<Elapsed>(&**error).unwrap_or_else(|| panic!("no limit: {error:?}"))
}
