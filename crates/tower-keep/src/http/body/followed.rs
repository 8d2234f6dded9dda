//! [`FollowedBody`]: a response body with the guard of a layer.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, SizeHint};
use pin_project_lite::pin_project;

use super::{
    guard::{End, Guard, Held, PolledFrame, poll_body},
    left::Left,
};
use crate::{error::BoxError, http::status::Answer};

pin_project! {
    /// A response body with the guard of a layer, which is released at the body's end.
    ///
    /// Each layer made by an `http()` wraps the body once. The wrapper is the body plus a few words:
    /// it does not allocate, box or lock. The size hint, the end and the frames are those of the
    /// inner body. It is `Unpin` if the inner body is.
    ///
    /// The type of a response is long if several layers follow it. To name it, use a type parameter,
    /// `impl Body`, or box the body.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Event, LogLayer, http::body::BodyEnd};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let log = LogLayer::http_to(|event: &Event| {
    ///     if event.kind.is_terminal() {
    ///         assert_eq!(event.http.as_ref().unwrap().body, Some(BodyEnd::Complete));
    ///     }
    /// });
    /// let client = log.layer(service_fn(|_: Request<()>| async {
    ///     Ok::<_, BoxError>(Response::new(Full::new(Bytes::from("a page"))))
    /// }));
    /// let response = client.oneshot(Request::get("http://example.com").body(())?).await?;
    /// // The job ends here.
    /// assert_eq!(response.into_body().collect().await?.to_bytes(), "a page");
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    pub struct FollowedBody<B, G>
    where
        G: Guard,
    {
        // Before the guard: it is dropped first. `None` after a layer ended it early.
        #[pin]
        body: Option<B>,
        held: Held<G>,
    }

    impl<B, G> PinnedDrop for FollowedBody<B, G>
    where
        G: Guard,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.held.drop_body(this.body);
        }
    }
}

impl<B, G: Guard> FollowedBody<B, G> {
    pub(super) fn new(body: B, guard: Option<G>, left: Left) -> Self {
        Self {
            body: Some(body),
            held: Held::new(guard, left),
        }
    }

    /// The inner body. `None` if a layer ended it early, as a time limit does.
    pub fn get_ref(&self) -> Option<&B> {
        self.body.as_ref()
    }
}

impl<B, G> Body for FollowedBody<B, G>
where
    B: Body,
    B::Error: Into<BoxError>,
    G: Guard,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B::Data> {
        let mut this = self.project();
        if this.held.guard().is_none() {
            return poll_body(this.body, cx);
        }
        this.held.keep_verdict();
        let unwinding = Unwinding(this.held);
        let Some(guard) = unwinding.0.guard() else {
            unreachable!("it is there until the end")
        };
        let polled = guard.poll_frame(this.body.as_mut(), cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let body = this.body.as_ref().get_ref().as_ref();
                if unwinding.0.left.is_last(frame, body) {
                    let answer = match (frame.trailers_ref(), unwinding.0.left) {
                        (Some(trailers), Left::TRAILERS) => Answer::of_trailers(trailers),
                        _ => None,
                    };
                    unwinding.0.end(End::Complete(answer));
                }
            }
            Poll::Ready(None) => unwinding.0.end(End::Complete(None)),
            Poll::Ready(Some(Err(error))) => unwinding.0.end(End::Failed(error)),
        }
        unwinding.0.return_verdict(&polled);
        mem::forget(unwinding);
        polled
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(none, B::size_hint)
    }
}

/// Whether nothing is left of this body.
#[inline]
pub(super) fn is_at_end<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// Ends the guard if the body panics. Forgotten otherwise.
struct Unwinding<'a, G: Guard>(&'a mut Held<G>);

impl<G: Guard> Drop for Unwinding<'_, G> {
    #[cold]
    fn drop(&mut self) {
        self.0.end(End::Panicked);
    }
}

impl<B: fmt::Debug, G: Guard> fmt::Debug for FollowedBody<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
