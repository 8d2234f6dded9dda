//! The layer, its settings, and the service.

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
    job::{
        ResponseFuture,
        membership::{Joining, LayerId, Membership, Watcher},
        table::Table,
    },
    unshare::{Unshare, has_others},
};

/// Keeps the latest state of each job, how the last ones ended, and a stream of events: from when its first
/// [`handle`](Self::handle) is taken.
///
/// Its clones, and all services that it makes, share one board. A setter on a layer that is in use, as by a clone, a handle
/// or a service, gives a layer with a board of its own: configure first, then take handles.
#[derive(Clone)]
pub struct ProgressLayer {
    board: Arc<Board>,
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
        Self {
            board: Arc::new(Board::new(events.get().min(1 << 24))),
        }
    }

    /// The table of the jobs, for a Cancel layer of the same stack.
    #[cfg_attr(not(any(feature = "pipeline", feature = "dispatch")), allow(dead_code))]
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.board.table
    }

    /// Keeps this many jobs that ended, the last ones, for [`ProgressHandle::history`]; for all clones and handles of
    /// this layer. 0 keeps none.
    ///
    /// Default: 100, about what a screen shows and a person who asks what went wrong just now looks through. It costs
    /// what that many jobs were, with their names and errors, for each of up to 16 threads that begin jobs, and no time that
    /// is worth mentioning. What [`ProgressHandle::changes`] has left to read does not depend on it.
    #[must_use]
    pub fn history(self, jobs: usize) -> Self {
        let layer = self.unshared();
        layer.board.table.set_history(jobs);
        layer
    }

    /// Reads the progress of the jobs of this layer and its clones.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with a board of its own, which
    /// this handle does not see.
    ///
    /// Take it before the first call: until there is a handle, the layer keeps nothing, as nobody could ask for it. Of a
    /// job that began before that nothing is shown.
    #[must_use]
    pub fn handle(&self) -> ProgressHandle {
        self.board.table.take();
        ProgressHandle {
            board: Arc::clone(&self.board),
        }
    }
}

impl Unshare for ProgressLayer {
    fn is_shared(&self) -> bool {
        has_others(&self.board) || self.board.is_read()
    }

    fn renew(&mut self) {
        self.board = Arc::new(self.board.renewed());
    }
}

impl Default for ProgressLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ProgressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.board.table;
        f.debug_struct("ProgressLayer")
            .field("buffer", &self.board.stream.buffer)
            .field("history", &table.history_size())
            .field("board", &self.board)
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

/// Shows the job of each call on the board. Made by [`ProgressLayer`].
#[derive(Clone, Debug)]
pub struct Progress<S> {
    inner: S,
    layer: ProgressLayer,
    id: LayerId,
}

impl<S> Progress<S> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change it. The board stays.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the service inside back.
    pub fn into_inner(self) -> S {
        self.inner
    }
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
            watcher: Watcher::Board(&self.layer.board.table),
            layer: self.id,
        };
        let (membership, future) = Membership::track(&joining, || self.inner.call(request));
        ResponseFuture::new(membership, future)
    }
}
