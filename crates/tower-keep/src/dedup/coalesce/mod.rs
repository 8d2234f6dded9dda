//! Coalescing (join mode): calls with the same key share one execution, and later calls its cached
//! result.

#[cfg(feature = "http")]
pub(super) mod collapse;
pub(super) mod flight;
pub(super) mod future;
mod join;
pub(super) mod joined_execution;
pub(super) mod share_error;
mod wait_graph;
