use std::{
    fmt,
    num::NonZeroUsize,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{board::Board, handle::ProgressHandle};
use crate::{
    event::Observer,
    job::{
        ResponseFuture,
        seat::{Joining, LayerId, Seat},
    },
};

/// Keeps the latest state of each job, how the last ones ended, and a stream of events.
#[derive(Clone)]
pub struct ProgressLayer {
    handle: ProgressHandle,
    observer: Arc<dyn Observer>,
}

impl ProgressLayer {
    /// Keeps up to 1024 events for readers of the stream that are behind.
    #[must_use]
    pub fn new() -> Self {
        Self::with_buffer(const { NonZeroUsize::new(1024).unwrap() })
    }

    /// Keeps up to this many events for readers that are behind, rounded up to a power of two; at most 2^24.
    #[must_use]
    pub fn with_buffer(events: NonZeroUsize) -> Self {
        // tokio's channel does not take more than half the address space, and allocates it all.
        let board = Arc::new(Board::new(events.get().min(1 << 24)));
        Self {
            observer: Arc::clone(&board) as Arc<dyn Observer>,
            handle: ProgressHandle { board },
        }
    }

    /// Keeps this many jobs that ended, the last ones, for [`ProgressHandle::history`]; for all clones and handles of
    /// this layer. 0 keeps none.
    ///
    /// Default: 100, about what a screen shows and somebody who asks what went wrong just now looks through. It costs
    /// the views of so many jobs, with their names and errors, and no time that is worth mentioning: a view that is
    /// there is moved. What [`ProgressHandle::changes`] has left to read does not depend on it.
    #[must_use]
    pub fn history(self, jobs: usize) -> Self {
        self.handle.board.set_history(jobs);
        self
    }

    /// Reads the progress of the jobs of this layer and its clones.
    #[must_use]
    pub fn handle(&self) -> ProgressHandle {
        self.handle.clone()
    }
}

impl Default for ProgressLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ProgressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (buffer, history) = self.handle.board.settings();
        f.debug_struct("ProgressLayer")
            .field("buffer", &buffer)
            .field("history", &history)
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ProgressLayer {
    type Service = Progress<S>;

    fn layer(&self, inner: S) -> Progress<S> {
        Progress {
            inner,
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

/// The service that [`ProgressLayer`] makes.
#[derive(Clone, Debug)]
pub struct Progress<S> {
    inner: S,
    layer: ProgressLayer,
    id: LayerId,
}

impl<S, Request> Service<Request> for Progress<S>
where
    S: Service<Request>,
    S::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let joining = Joining {
            observer: Some(&self.layer.observer),
            traced: false,
            layer: self.id,
        };
        let (seat, future) = Seat::track(&joining, || self.inner.call(request));
        ResponseFuture::new(seat, future)
    }
}
