//! Which joined executions wait for which. A call that would wait for the execution whose code makes it fails at once.
//!
//! An edge is a call with a key that an execution's code made and that has not ended, whether it began the execution
//! that it waits for or joined it. Only such calls come here: no other call can close a circle. An edge is looked for and
//! added under one lock, so that of two calls that would close a circle at once, one sees the other.

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
static GRAPH: Mutex<Graph> = Mutex::new(Graph(BTreeMap::new()));

struct Graph(BTreeMap<ExecutionId, Vec<Edge>>);

struct Edge {
    to: ExecutionId,
    key: Arc<str>,
    job: Option<JobId>,
}

fn graph() -> MutexGuard<'static, Graph> {
    GRAPH.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Graph {
    /// The edges of a way from one to the other, the last one first. Each is gone through once.
    fn way(&self, from: ExecutionId, to: ExecutionId) -> Option<Vec<&Edge>> {
        let mut came_by: BTreeMap<ExecutionId, (ExecutionId, &Edge)> = BTreeMap::new();
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            if at == to {
                let mut way = Vec::new();
                let mut at = at;
                while at != from {
                    let (before, edge) = came_by[&at];
                    way.push(edge);
                    at = before;
                }
                return Some(way);
            }
            for edge in self.0.get(&at).into_iter().flatten() {
                if edge.to != from && !came_by.contains_key(&edge.to) {
                    came_by.insert(edge.to, (at, edge));
                    next.push(edge.to);
                }
            }
        }
        None
    }
}

/// A call with a key that the code of a joined execution makes.
pub(super) struct Nested {
    inside: ExecutionId,
    key: Arc<str>,
}

impl Nested {
    /// `None` for a call that no execution's code makes.
    #[inline]
    pub(super) fn new(key: &impl Debug) -> Option<Self> {
        let inside = context::execution()?;
        Some(Self {
            inside,
            key: bounded(format_args!("{key:?}")),
        })
    }

    /// The call waits for this execution, which has this job.
    ///
    /// # Errors
    ///
    /// The circle, as a text, if that waits for the execution whose code makes the call.
    pub(super) fn wait(self, to: ExecutionId, job: Option<JobId>) -> Result<Waits, Arc<str>> {
        let mut graph = graph();
        if let Some(way) = graph.way(to, self.inside) {
            let mut text = named(&self.key, job);
            for edge in way.iter().rev() {
                let _ = write!(text, " waits for {}", named(&edge.key, edge.job));
            }
            text.push_str(", whose code makes this call");
            return Err(text.into());
        }
        let edge = Edge {
            to,
            key: self.key,
            job,
        };
        graph.0.entry(self.inside).or_default().push(edge);
        Ok(Waits {
            from: self.inside,
            to,
        })
    }
}

fn named(key: &str, job: Option<JobId>) -> String {
    match job {
        Some(job) => format!("{key} (job {job})"),
        None => key.to_owned(),
    }
}

/// A call waits, until this is dropped.
pub(super) struct Waits {
    from: ExecutionId,
    to: ExecutionId,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut graph = graph();
        let Some(edges) = graph.0.get_mut(&self.from) else {
            return;
        };
        // Edges with the same ends are alike.
        if let Some(index) = edges.iter().position(|edge| edge.to == self.to) {
            edges.swap_remove(index);
        }
        if edges.is_empty() {
            graph.0.remove(&self.from);
        }
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
        graph.0.entry(execution(from)).or_default().push(edge);
    }

    proptest! {
        /// A way is found exactly where there is one, and each of its edges begins where the one before ends.
        #[test]
        fn a_way_is_found_where_there_is_one(
            edges in prop::collection::vec((0..8u64, 0..8u64), 0..20),
            from in 0..8u64,
            to in 0..8u64,
        ) {
            let mut graph = Graph(BTreeMap::new());
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
            let way = graph.way(execution(from), execution(to));
            prop_assert_eq!(way.is_some(), reached.contains(&to));
            let mut at = execution(from);
            for edge in way.into_iter().flatten().rev() {
                prop_assert!(graph.0[&at].iter().any(|known| known.to == edge.to));
                at = edge.to;
            }
            prop_assert!(at == execution(to) || !reached.contains(&to));
        }
    }
}
