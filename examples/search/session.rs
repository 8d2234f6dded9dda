//! The searches that run, and their end.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tower::ServiceExt;
use tower_keep::{
    CancelReason, Report,
    cancel::{CancelHandle, ShutdownReport},
    progress::ProgressHandle,
};

use crate::{
    ended::{Ended, How},
    error::SearchError,
    found::Found,
    journal::Journal,
    query::{Ask, Query},
    stack::{Search, Stack},
};

type Call = BoxFuture<'static, (Ask, bool, Result<Arc<Found>, SearchError>)>;

/// Asks, and says how it ended.
///
/// All calls are in one task: so a query that takes a running search over has joined it before the one that it replaces
/// is polled again and leaves.
pub(crate) struct Session<S> {
    service: S,
    cancel: CancelHandle,
    progress: ProgressHandle,
    journal: Arc<Journal>,
    calls: FuturesUnordered<Call>,
    asked: u64,
    closing: Option<std::pin::Pin<Box<dyn Future<Output = ShutdownReport> + Send>>>,
}

/// What happens in a session.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A search ended, in whichever way.
    Ended(Ended),
    /// The last search ended after [`Session::close`].
    Closed(ShutdownReport),
}

impl<S: Search> Session<S> {
    pub(crate) fn new(stack: Stack<S>, journal: Arc<Journal>) -> Self {
        Self {
            service: stack.service,
            cancel: stack.cancel,
            progress: stack.progress,
            journal,
            calls: FuturesUnordered::new(),
            asked: 0,
            closing: None,
        }
    }

    /// Asks this query; its end comes from [`next`](Self::next).
    pub(crate) async fn ask(&mut self, query: Query) -> Result<(), SearchError> {
        self.asked += 1;
        let ask = Ask {
            number: self.asked,
            query,
        };
        let late = self.cancel.is_shut_down();
        let call = self.service.ready().await?.call(ask.clone());
        self.calls
            .push(Box::pin(async move { (ask, late, call.await) }));
        Ok(())
    }

    /// Cancels what runs.
    pub(crate) fn cancel(&self, reason: &str) {
        self.cancel.cancel_all(CancelReason::from(reason));
    }

    /// Refuses new queries from now on, and lets the running search go on for so long. The second time it is cancelled.
    pub(crate) fn close(&mut self, within: Duration) {
        if self.is_closing() {
            self.cancel.shutdown_now();
        } else {
            self.closing = Some(Box::pin(self.cancel.shutdown(within)));
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether a search runs.
    pub(crate) fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }

    /// How far the search is that runs for the latest query.
    pub(crate) fn report(&self) -> Option<Report> {
        self.progress.jobs().pop().map(|view| view.report)
    }

    /// What happens next; nothing ever, if nothing runs and this is not closing.
    ///
    /// Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Happened {
        let closed = async {
            match &mut self.closing {
                Some(closing) => closing.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((ask, late, result)) = self.calls.next() => {
                let via = self.journal.take(&ask.job());
                Happened::Ended(Ended { how: How::new(result, via, late), ask })
            }
            tally = closed => Happened::Closed(tally),
        }
    }
}
