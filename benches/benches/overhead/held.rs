//! The memory that jobs hold while they run.

use std::{
    future::Future,
    task::{Context, Waker},
};

use tower::{Layer, Service};
use tower_keep_benches::{Inner, cases::keep};

/// The bytes held by each of this many running jobs behind Log, Progress and Cancel, without its
/// future; and those of the future.
pub(crate) fn by_running_job(jobs: usize) -> (usize, usize) {
    let mut service = keep::log_progress_cancel().layer(Inner::pending_once());
    let mut cx = Context::from_waker(Waker::noop());
    let mut running = Vec::with_capacity(jobs);
    let held = allocation_counter::measure(|| {
        for request in 0..jobs {
            let mut call = Box::pin(service.call(request as u64));
            assert!(call.as_mut().poll(&mut cx).is_pending());
            running.push(call);
        }
    });
    let future = running.first().map_or(0, |call| size_of_val(&**call));
    let held = usize::try_from(held.bytes_current).unwrap_or_default();
    (held / jobs - future, future)
}
