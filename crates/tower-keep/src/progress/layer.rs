//! [`ProgressLayer`] with its settings, and the service.

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
        call_end::{AroundService, AtResponse, BeginsCall, EndsCall},
        membership::{Joining, LayerId, Membership, Watcher},
        table::Table,
    },
    unshare::{Unshare, has_others},
};

/// Records the latest state of each job, the endings of the last jobs, and a stream of events. It
/// starts when the first [`handle`](Self::handle) is taken.
///
/// Clones and services of the layer share one board. A setter on a layer that is in use, by a
/// clone, a handle or a service, returns a layer with a new board. Configure first, then take
/// handles.
#[derive(Clone)]
pub struct ProgressLayer<E = AtResponse> {
    board: Arc<Board>,
    end: E,
}

impl ProgressLayer {
    /// A layer whose event stream buffers up to 1024 events for slow readers.
    #[must_use]
    pub fn new() -> Self {
        Self::with_buffer(const { NonZeroUsize::new(1024).unwrap() })
    }

    /// A layer whose event stream buffers this many events for slow readers. Rounded up to a power
    /// of two, at most 2^24.
    #[must_use]
    pub fn with_buffer(events: NonZeroUsize) -> Self {
        // tokio's channel allocates its whole buffer, and panics above half the address space.
        Self {
            board: Arc::new(Board::new(events.get().min(1 << 24))),
            end: AtResponse,
        }
    }
}

impl<E> ProgressLayer<E> {
    /// Sets what ends a job.
    #[cfg(feature = "http")]
    pub(crate) fn ending<X>(self, end: X) -> ProgressLayer<X> {
        ProgressLayer {
            board: self.board,
            end,
        }
    }

    /// The table of jobs, for a Cancel layer of the same stack.
    #[cfg_attr(not(any(feature = "pipeline", feature = "dispatch")), allow(dead_code))]
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.board.table
    }

    /// Sets how many ended jobs [`ProgressHandle::history`] keeps. 0 keeps none. Default: 100,
    /// about one screen.
    ///
    /// It costs memory only: that many views, with their names and errors, for each of up to 16
    /// threads that begin jobs. The unread changes of [`ProgressHandle::changes`] do not depend on
    /// it.
    #[must_use]
    pub fn history(self, jobs: usize) -> Self {
        let layer = self.unshared();
        layer.board.table.set_history(jobs);
        layer
    }

    /// A handle that reads the progress of the jobs of this layer and its clones.
    ///
    /// Take it before the first call. Without a handle the layer keeps nothing, and a job that
    /// began earlier is never shown.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns a layer with a
    /// new board, which the handle does not see.
    #[must_use]
    pub fn handle(&self) -> ProgressHandle {
        self.board.table.take();
        ProgressHandle {
            board: Arc::clone(&self.board),
        }
    }
}

impl<E> Unshare for ProgressLayer<E> {
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

impl<E> fmt::Debug for ProgressLayer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.board.table;
        f.debug_struct("ProgressLayer")
            .field("buffer", &self.board.stream.buffer)
            .field("history", &table.history_size())
            .field("board", &self.board)
            .finish_non_exhaustive()
    }
}

impl<S, E: AroundService<S> + Clone> Layer<S> for ProgressLayer<E> {
    type Service = Progress<E::Service, E>;

    fn layer(&self, inner: S) -> Self::Service {
        Progress {
            inner: self.end.around(inner),
            layer: self.clone(),
            id: LayerId::next(),
        }
    }
}

/// Shows the job of each call on the board. Made by [`ProgressLayer`].
#[derive(Clone, Debug)]
pub struct Progress<S, E = AtResponse> {
    inner: S,
    layer: ProgressLayer<E>,
    id: LayerId,
}

impl<S, E> Progress<S, E> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably. The board stays.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, E, Request> Service<Request> for Progress<S, E>
where
    S: Service<Request>,
    S::Error: fmt::Display,
    E: BeginsCall<Request> + EndsCall<S::Response> + Clone,
{
    type Response = E::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, E>;

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
        let is_bodiless = self.layer.end.is_bodiless(&request);
        let end = &self.layer.end;
        let (membership, future) =
            Membership::track(&joining, || self.inner.call(end.prepare(request)));
        ResponseFuture::new(membership.begun(is_bodiless), future, end.clone())
    }
}
