//! `ResumedBody`: a response body that goes on with range requests.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    call::{IntoBody, Resumption},
    error::{NotResumed, NotResumedReason},
    representation::Representation,
};
use crate::{
    Rejection,
    error::{BoxError, find},
    event::LimitScope,
    http::{
        ErrorKind, HttpResponse,
        body::guard::{PolledFrame, poll_body},
    },
    job::Elapsed,
    retry::hook::NoAttempt,
};

pin_project! {
    /// A response body that goes on with range requests if it breaks off.
    ///
    /// It is `Unpin` if the inner body is. Until the body breaks off, nothing is allocated, and no
    /// clock is read. Its errors are those of the inner body, or [`NotResumed`].
    pub struct ResumedBody<B, C> {
        // `None` while range requests run, and after the end.
        #[pin]
        body: Option<B>,
        // `None`: the body is passed on as it is.
        known: Option<Known>,
        // Not `None` if `known` is not. No thread waits for the lock: it only makes the body `Sync`.
        call: Mutex<Option<C>>,
        interruption: Option<BoxError>,
    }
}

struct Known {
    representation: Representation,
    /// The first body knew its length.
    is_exact: bool,
}

impl<B, C> ResumedBody<B, C> {
    /// A body that is passed on as it is.
    pub(super) fn unchanged(body: B) -> Self {
        Self {
            body: Some(body),
            known: None,
            call: Mutex::new(None),
            interruption: None,
        }
    }

    pub(super) fn resumable(body: B, representation: Representation, call: C) -> Self
    where
        B: Body,
    {
        Self {
            known: Some(Known {
                representation,
                is_exact: body.size_hint().exact().is_some(),
            }),
            body: Some(body),
            call: Mutex::new(Some(call)),
            interruption: None,
        }
    }

    /// The body of the running response. `None` while range requests run, and after an error.
    pub fn get_ref(&self) -> Option<&B> {
        self.body.as_ref()
    }
}

impl<B, C> Body for ResumedBody<B, C>
where
    B: Body,
    B::Error: Into<BoxError>,
    C: Resumption,
    C::Response: IntoBody<Body = B>,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B::Data> {
        let mut this = self.project();
        loop {
            let Some(known) = this.known.as_mut() else {
                return poll_body(this.body.as_mut(), cx);
            };
            let representation = &mut known.representation;
            if this.body.is_some() {
                let error = match ready!(poll_body(this.body.as_mut(), cx)) {
                    // Nothing follows trailers: this response ends early.
                    Some(Ok(frame))
                        if frame.is_trailers()
                            && representation.is_resumed()
                            && !representation.is_complete() =>
                    {
                        None
                    }
                    Some(Ok(frame)) if count(representation, &frame) => {
                        let body = this.body.as_ref().get_ref();
                        if frame.is_trailers()
                            || representation.is_complete()
                                && body.as_ref().is_some_and(B::is_end_stream)
                        {
                            release(this.known, this.call);
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    // The first response contradicts itself: nothing is certain.
                    Some(Ok(frame)) if !representation.is_resumed() => {
                        release(this.known, this.call);
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Some(Ok(frame)) => {
                        drop(frame);
                        this.body.set(None);
                        let error = representation.not_resumed(
                            NotResumedReason::WrongRange,
                            this.interruption,
                            None,
                        );
                        release(this.known, this.call);
                        return Poll::Ready(Some(Err(error)));
                    }
                    // All bytes have arrived, whatever follows.
                    None | Some(Err(_)) if representation.is_complete() => {
                        this.body.set(None);
                        release(this.known, this.call);
                        return Poll::Ready(None);
                    }
                    None => None,
                    Some(Err(error)) => Some(error),
                };
                let call = this.call.get_mut().unwrap_or_else(PoisonError::into_inner);
                match interrupted(representation, call, error) {
                    Interrupted::Waits(error) => {
                        // Its connection is free for the range request.
                        this.body.set(None);
                        *this.interruption = Some(error);
                    }
                    Interrupted::Ends(end) => {
                        this.body.set(None);
                        release(this.known, this.call);
                        return Poll::Ready(end.map(Err));
                    }
                }
            } else {
                let call = this.call.get_mut().unwrap_or_else(PoisonError::into_inner);
                let Some(call) = call else {
                    return Poll::Ready(None);
                };
                let (reason, failure) = match ready!(call.poll_response(cx)) {
                    Err(error) => (NotResumedReason::Failed, Some(error)),
                    Ok(response) => match representation.go_on_with(&response) {
                        Ok(()) => {
                            this.body.set(Some(response.into_body()));
                            continue;
                        }
                        Err(reason) => (reason, None),
                    },
                };
                let error = representation.not_resumed(reason, this.interruption, failure);
                release(this.known, this.call);
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.known {
            None => self.body.as_ref().is_none_or(B::is_end_stream),
            Some(known) => {
                known.representation.is_complete()
                    && self.body.as_ref().is_some_and(B::is_end_stream)
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match (&self.known, &self.body) {
            (Some(known), _) if known.is_exact => SizeHint::with_exact(known.representation.left()),
            // Later bodies may know what the first did not.
            (Some(known), _) if known.representation.is_resumed() => SizeHint::default(),
            (_, Some(body)) => body.size_hint(),
            (Some(_), None) => SizeHint::default(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

/// Counts the bytes of a frame. `false`: they are too many.
#[inline]
fn count<D: Buf>(representation: &mut Representation, frame: &Frame<D>) -> bool {
    match frame.data_ref() {
        Some(data) => representation.count(data.remaining() as u64),
        None => true,
    }
}

/// No range request follows: drops what is kept for one.
fn release<C>(known: &mut Option<Known>, call: &mut Mutex<Option<C>>) {
    *known = None;
    *call.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
}

enum Interrupted {
    /// A range request follows.
    Waits(BoxError),
    /// The reader gets this.
    Ends(Option<BoxError>),
}

/// The body broke off with this error, or ended early without one.
#[cold]
fn interrupted<C: Resumption>(
    representation: &Representation,
    call: &mut Option<C>,
    error: Option<BoxError>,
) -> Interrupted {
    let is_error = error.is_some();
    let error = error.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            match representation.has_short_part() {
                true => "the server sent only the beginning of the range",
                false => "the response body is shorter than its declared length",
            },
        )
        .into()
    });
    // After a resumption, the reader must not take a part for the whole.
    let unchanged = |error| match is_error || representation.is_resumed() {
        true => Interrupted::Ends(Some(error)),
        false => Interrupted::Ends(None),
    };
    let Some(call) = call.as_mut().filter(|_| may_pass(&error)) else {
        return unchanged(error);
    };
    match call.interrupted(&error, representation) {
        Ok(()) => Interrupted::Waits(error),
        Err(NoAttempt::Forbidden) => unchanged(error),
        Err(NoAttempt::GaveUp(reason)) => {
            let reason = NotResumedReason::GaveUp(reason);
            let error = NotResumed::new(representation.delivered(), reason, error, None);
            Interrupted::Ends(Some(error.into()))
        }
    }
}

/// Whether a range request may succeed after this error.
fn may_pass(error: &BoxError) -> bool {
    // A resumption inside has done what it could.
    if find::<NotResumed>(&**error).is_some() {
        return false;
    }
    match Rejection::of(&**error) {
        None => ErrorKind::of(&**error) != ErrorKind::Permanent,
        Some(Rejection::TimedOut) => match find::<Elapsed>(&**error) {
            Some(elapsed) => *elapsed.scope() != LimitScope::Overall,
            None => false,
        },
        Some(_) => false,
    }
}

impl Representation {
    fn go_on_with<T: HttpResponse + IntoBody>(
        &mut self,
        response: &T,
    ) -> Result<(), NotResumedReason> {
        self.go_on(
            response.status(),
            response.headers(),
            response.exact_length(),
        )?;
        match self.is_at(response.final_url()) {
            true => Ok(()),
            false => Err(NotResumedReason::Changed),
        }
    }

    #[cold]
    fn not_resumed(
        &self,
        reason: NotResumedReason,
        interruption: &mut Option<BoxError>,
        failure: Option<BoxError>,
    ) -> BoxError {
        let interruption = interruption.take();
        let interruption = interruption.unwrap_or_else(|| unreachable!("the body was interrupted"));
        NotResumed::new(self.delivered(), reason, interruption, failure).into()
    }
}

impl<B: fmt::Debug, C> fmt::Debug for ResumedBody<B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumedBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
