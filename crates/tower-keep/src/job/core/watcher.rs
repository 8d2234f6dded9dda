//! A watcher of a job: an observer, or a board.

use std::sync::Arc;

use super::Core;
use crate::{
    event::{Exchange, Observer},
    job::table::Table,
};

/// A watcher of a job.
#[derive(Clone, Copy)]
pub(crate) enum Watcher<'a> {
    Nothing,
    /// `traced`: the observer writes to tracing. `exchange`: the HTTP exchange of this call, for
    /// the job's events.
    Observer {
        observer: &'a Arc<dyn Observer>,
        traced: bool,
        exchange: Option<&'a Exchange>,
    },
    #[allow(dead_code, reason = "only a board has one")]
    Board(&'a Table),
}

impl Watcher<'_> {
    /// Whether this watcher may run user code.
    pub(crate) fn runs_code(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Observer { .. } => true,
            Self::Board(table) => table.runs_code(),
        }
    }

    /// Adds this watcher to an existing job.
    pub(crate) fn join(self, job: &Arc<Core>) {
        match self {
            Self::Nothing => {}
            Self::Observer {
                observer,
                traced,
                exchange,
            } => {
                if let Some(exchange) = exchange {
                    job.begin_exchange(exchange);
                }
                job.observe(observer, traced);
            }
            Self::Board(table) => table.show(job),
        }
    }
}
