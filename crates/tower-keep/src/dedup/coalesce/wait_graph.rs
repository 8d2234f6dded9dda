//! The wait-for graph of joined executions, which detects cycles. A call fails at once if it would
//! wait for the execution whose code makes it.
//!
//! An edge is an unfinished call with a key that an execution's code made. The call began the
//! execution that it waits for, or joined it. Only such calls come here, as no other call can close
//! a cycle. The search and the insertion of an edge happen under one lock. So of two calls that
//! would close a cycle at once, one sees the other.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    error_text::bounded,
    event::JobId,
    job::{context, core::sharing::ExecutionId},
};

/// The edges of each execution. A leaf lock.
static GRAPH: Mutex<Graph> = Mutex::new(Graph {
    edges: BTreeMap::new(),
    next: 0,
});

#[derive(Default)]
struct Graph {
    /// The edges that begin at each execution, by their number.
    edges: BTreeMap<ExecutionId, BTreeMap<u64, Edge>>,
    next: u64,
}

struct Edge {
    to: ExecutionId,
    key: Arc<str>,
    job: Option<JobId>,
}

fn graph() -> MutexGuard<'static, Graph> {
    GRAPH.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Graph {
    /// Returns the number of the edge.
    fn add(&mut self, from: ExecutionId, edge: Edge) -> u64 {
        let number = self.next;
        self.next += 1;
        self.edges.entry(from).or_default().insert(number, edge);
        number
    }

    fn remove(&mut self, from: ExecutionId, number: u64) {
        if let Some(edges) = self.edges.get_mut(&from) {
            edges.remove(&number);
            if edges.is_empty() {
                self.edges.remove(&from);
            }
        }
    }

    /// Returns the edges of a path, the last one first. Each edge is visited once.
    fn path(&self, from: ExecutionId, to: ExecutionId) -> Option<Vec<&Edge>> {
        let mut came_by: BTreeMap<ExecutionId, (ExecutionId, &Edge)> = BTreeMap::new();
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            if at == to {
                let mut path = Vec::new();
                let mut at = at;
                while at != from {
                    let (before, edge) = came_by[&at];
                    path.push(edge);
                    at = before;
                }
                return Some(path);
            }
            for edge in self.edges.get(&at).into_iter().flat_map(BTreeMap::values) {
                if edge.to != from && !came_by.contains_key(&edge.to) {
                    came_by.insert(edge.to, (at, edge));
                    next.push(edge.to);
                }
            }
        }
        None
    }
}

/// A call with a key, made by the code of a joined execution.
pub(super) struct NestedCall {
    inside: ExecutionId,
    key: Arc<str>,
}

impl NestedCall {
    /// Returns `None` for a call outside any execution.
    #[inline]
    pub(super) fn new(key: &impl Debug) -> Option<Self> {
        let inside = context::execution()?;
        Some(Self {
            inside,
            key: bounded(format_args!("{key:?}")),
        })
    }

    /// Adds an edge: the call waits for this execution, which has this job.
    ///
    /// # Errors
    ///
    /// The cycle, as a text, if that execution waits for `self.inside`.
    pub(super) fn wait(self, to: ExecutionId, job: Option<JobId>) -> Result<WaitGuard, Arc<str>> {
        let mut graph = graph();
        if let Some(path) = graph.path(to, self.inside) {
            let mut text = named(&self.key, job);
            for edge in path.iter().rev() {
                let _ = write!(text, " waits for {}", named(&edge.key, edge.job));
            }
            text.push_str(", which made this call");
            return Err(bounded(format_args!("{text}")));
        }
        let edge = Edge {
            to,
            key: self.key,
            job,
        };
        let number = graph.add(self.inside, edge);
        Ok(WaitGuard {
            from: self.inside,
            number,
        })
    }
}

fn named(key: &str, job: Option<JobId>) -> String {
    match job {
        Some(job) => format!("{key} (job {job})"),
        None => key.to_owned(),
    }
}

/// An edge of the graph, removed on drop.
pub(super) struct WaitGuard {
    from: ExecutionId,
    number: u64,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        graph().remove(self.from, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn execution(number: u64) -> ExecutionId {
        ExecutionId { table: 0, number }
    }

    fn add(graph: &mut Graph, from: u64, to: u64) {
        let edge = Edge {
            to: execution(to),
            key: to.to_string().into(),
            job: None,
        };
        graph.add(execution(from), edge);
    }

    proptest! {
        /// A path is found exactly if there is one, and each of its edges begins where the previous
        /// one ends.
        #[test]
        fn a_path_is_found_where_there_is_one(
            edges in prop::collection::vec((0..8u64, 0..8u64), 0..20),
            from in 0..8u64,
            to in 0..8u64,
        ) {
            let mut graph = Graph::default();
            let mut reached = BTreeSet::from([from]);
            for (from, to) in &edges {
                add(&mut graph, *from, *to);
            }
            // As often as there are executions.
            for _ in 0..8 {
                for (from, to) in &edges {
                    if reached.contains(from) {
                        reached.insert(*to);
                    }
                }
            }
            let path = graph.path(execution(from), execution(to));
            prop_assert_eq!(path.is_some(), reached.contains(&to));
            let mut at = execution(from);
            for edge in path.into_iter().flatten().rev() {
                prop_assert!(graph.edges[&at].values().any(|known| known.to == edge.to));
                at = edge.to;
            }
            prop_assert!(at == execution(to) || !reached.contains(&to));
        }
    }
}
