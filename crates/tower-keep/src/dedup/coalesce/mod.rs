//! Coalescing: calls with one key share one execution, and later ones its cached result.

pub(super) mod flight;
pub(super) mod future;
pub(super) mod joinable;
mod service;
pub(super) mod share;
mod wait_graph;
